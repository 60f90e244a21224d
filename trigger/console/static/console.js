// What pages do by themselves. Each works without this file: then one reloads, copies and follows by hand.
"use strict";

// A region marked data-live="SECONDS" is fetched again that often, as long as the page is looked at. Once the server
// sends it without the mark, there is nothing more to come.
function follow(region) {
  const seconds = Number(region.dataset.live);
  if (!seconds) return;
  setTimeout(async () => {
    let next = region;
    if (!document.hidden && !region.contains(document.activeElement)) {
      try {
        const answer = await fetch(location.href, { headers: { "X-Live": "1" } });
        if (answer.redirected) return location.reload(); // signed out meanwhile
        if (answer.ok) {
          const page = new DOMParser().parseFromString(await answer.text(), "text/html");
          const found = page.getElementById(region.id);
          if (found && found.outerHTML !== region.dataset.seen) {
            const seen = found.outerHTML;
            keepOpen(region, found);
            region.replaceWith(found);
            found.dataset.seen = seen;
            prepare(found);
            return; // prepare() follows the new one
          }
        }
      } catch {
        // The service is away: the next look may find it.
      }
    }
    follow(next);
  }, seconds * 1000);
}

// What the reader has opened stays open.
function keepOpen(before, after) {
  for (const details of before.querySelectorAll("details[id]")) {
    const same = after.querySelector(`details[id="${CSS.escape(details.id)}"]`);
    if (same) same.open = details.open;
  }
}

// <button data-copy="ID"> copies the text of the element with that id.
function copies(button) {
  button.hidden = false;
  button.addEventListener("click", async () => {
    const text = document.getElementById(button.dataset.copy).textContent;
    try {
      await navigator.clipboard.writeText(text);
    } catch {
      select(document.getElementById(button.dataset.copy)); // no clipboard without TLS: the reader copies what is marked
      return;
    }
    const word = button.textContent;
    button.textContent = "Copied";
    setTimeout(() => { button.textContent = word; }, 1500);
  });
}

function select(element) {
  const range = document.createRange();
  range.selectNodeContents(element);
  const selection = getSelection();
  selection.removeAllRanges();
  selection.addRange(range);
}

// <ol data-log="URL" data-after="POSITION"> is an execution's log, to which new lines are added until it ends.
async function followLog(list) {
  while (list.isConnected) {
    const waited = new Promise((done) => { setTimeout(done, 1000); });
    if (!document.hidden) {
      try {
        const answer = await fetch(`${list.dataset.log}?after=${encodeURIComponent(list.dataset.after)}`);
        if (answer.redirected) return location.reload();
        if (answer.ok) {
          const page = await answer.json();
          const atEnd = list.scrollTop + list.clientHeight >= list.scrollHeight - 8;
          for (const line of page.lines) list.append(logLine(line));
          while (list.children.length > 5000) list.firstElementChild.remove();
          if (page.lines.length && atEnd) list.scrollTop = list.scrollHeight;
          list.dataset.after = page.next;
          if (page.ended) return;
          if (page.lines.length >= page.limit) continue;
        }
      } catch {
        // The service is away: the next look may find it.
      }
    }
    await waited;
  }
}

function logLine(line) {
  const item = document.createElement("li");
  item.className = line.level === "ERROR" || line.level === "CRITICAL" ? "error" : line.stream;
  for (const [name, text] of [["time", line.time], ["step", line.step], ["text", line.text]]) {
    const part = document.createElement(name === "time" ? "time" : "span");
    part.className = name;
    part.textContent = text;
    item.append(part, " ");
  }
  return item;
}

// <form data-confirm="QUESTION"> asks before it is sent.
function asks(form) {
  form.addEventListener("submit", (event) => {
    if (!confirm(form.dataset.confirm)) event.preventDefault();
  });
}

// <select data-submit> sends its form when another value is chosen.
function sends(field) {
  field.addEventListener("change", () => { field.form.requestSubmit(); });
}

function prepare(root) {
  const all = (selector) => [...(root.matches?.(selector) ? [root] : []), ...root.querySelectorAll(selector)];
  all("[data-live]").forEach(follow);
  all("[data-copy]").forEach(copies);
  all("[data-log]").forEach(followLog);
  all("[data-confirm]").forEach(asks);
  all("[data-submit]").forEach(sends);
}

prepare(document);
