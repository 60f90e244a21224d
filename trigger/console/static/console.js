// What pages do by themselves. Each works without this file: then one reloads, copies and follows by hand.
"use strict";

// Regions marked data-live="SECONDS" are fetched again that often, all of a page at once, as long as it is looked at.
// Once the server sends one without the mark, there is nothing more to come. data-from is the page that has them, where
// that is not this one. One that is marked data-hold, too, stays as it is while the pointer, the focus or a selection is
// in it.
async function follow() {
  for (;;) {
    const regions = [...document.querySelectorAll("[data-live]")];
    if (!regions.length) return;
    await pause(Math.min(...regions.map((region) => Number(region.dataset.live) * 1000)));
    const due = regions.filter((region) => !region.hasAttribute("data-hold") || !isHeld(region));
    if (document.hidden || !due.length) continue;
    try {
      const answer = await ask(regions[0].dataset.from || location.href, { headers: { "X-Live": "1" } });
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      for (const region of [...due, document.getElementById("sections")]) {
        const found = page.getElementById(region.id);
        if (found && region.isConnected) become(region, found);
      }
      document.title = page.title;
      isFresh("page");
    } catch {
      isStale("page"); // the next look may find the service
    }
  }
}

// An answer of the service within a while; anything else is an error. Whoever was signed out meanwhile signs in again.
const PATIENCE = 10_000; // milliseconds

async function ask(url, options = {}) {
  const answer = await fetch(url, { ...options, signal: AbortSignal.timeout(PATIENCE) });
  if (answer.redirected) location.reload();
  if (answer.redirected || !answer.ok) throw new Error(answer.status);
  return answer;
}

// When what follows by itself, the page or its log, was up to date last, and which of them is not now. As long as one is
// not, the page says since when, and has no colours: its "running, 3.34 s" is of that moment.
const upToDate = { page: new Date(), log: new Date() };
const stale = new Set();

function isFresh(what) {
  upToDate[what] = new Date();
  stale.delete(what);
  showStale();
}

function isStale(what) {
  stale.add(what);
  showStale();
}

function showStale() {
  document.body.classList.toggle("stale", stale.size > 0);
  let notice = document.getElementById("stale");
  if (!stale.size) {
    notice?.remove();
    return;
  }
  if (!notice) {
    notice = document.createElement("p");
    notice.id = "stale";
    notice.className = "notice stays warn";
    notice.setAttribute("role", "status");
    document.querySelector("main").prepend(notice);
  }
  const since = Math.min(...[...stale].map((what) => upToDate[what].getTime()));
  const text = `Not updated since ${new Date(since).toTimeString().slice(0, 8)}; trying again.`;
  if (notice.textContent !== text) notice.textContent = text; // else it would be read out again
}

function isHeld(region) {
  const selection = getSelection();
  return region.matches(":hover, :focus-within") || (!selection.isCollapsed && region.contains(selection.anchorNode));
}

// What the reader, or this file, has changed in an element since it came.
const OURS = new Set(["open", "hidden"]);

// Makes an element like another, and leaves alone what is the same in both: the focus, a selection, what is scrolled and
// what the reader has opened stay. Elements with an id are the same wherever they have moved to among their siblings.
function become(now, next) {
  if (now.isEqualNode(next)) return;
  if (now.nodeName !== next.nodeName || now.id !== next.id) {
    now.replaceWith(next);
    prepare(next);
    return;
  }
  if (now.nodeType !== Node.ELEMENT_NODE) {
    now.data = next.data;
    return;
  }
  for (const { name } of [...now.attributes]) {
    if (!next.hasAttribute(name) && !OURS.has(name)) now.removeAttribute(name);
  }
  for (const { name, value } of next.attributes) {
    if (now.getAttribute(name) !== value && !OURS.has(name)) now.setAttribute(name, value);
  }
  const known = new Map([...now.children].filter((child) => child.id).map((child) => [child.id, child]));
  let place = now.firstChild;
  for (const wanted of [...next.childNodes]) {
    const same = wanted.id ? known.get(wanted.id) : place?.id ? null : place;
    if (!same) {
      now.insertBefore(wanted, place);
      prepare(wanted);
      continue;
    }
    if (same === place) place = place.nextSibling;
    else now.insertBefore(same, place);
    become(same, wanted);
  }
  while (place) {
    const gone = place;
    place = place.nextSibling;
    gone.remove();
  }
}

// Waits that long, or until the reader comes back to the page.
function pause(milliseconds) {
  return new Promise((done) => {
    setTimeout(done, milliseconds);
    document.addEventListener("visibilitychange", done, { once: true, signal: AbortSignal.timeout(milliseconds) });
  });
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

// <ol data-log="URL" data-after="POSITION"> is an execution's log, to which new lines are added until it ends. The newest
// are kept; a log that comes faster than it can be shown is shown now and then.
const KEPT = 1000;

async function followLog(list) {
  let lines = [], shownAt = 0;
  while (list.isConnected) {
    const page = document.hidden ? null : await moreOf(list);
    const isBehind = page !== null && page.lines.length >= page.limit;
    if (page) lines = lines.concat(page.lines).slice(-KEPT);
    if (!isBehind || Date.now() - shownAt > 500) {
      add(list, lines);
      lines = [];
      shownAt = Date.now();
    }
    if (page?.ended) return;
    if (!isBehind) await pause(1000);
  }
}

// What the log has after what is known of it; null when that can't be had now.
async function moreOf(list) {
  try {
    const answer = await ask(`${list.dataset.log}?after=${encodeURIComponent(list.dataset.after)}`);
    const page = await answer.json();
    list.dataset.after = page.next;
    isFresh("log");
    return page;
  } catch {
    isStale("log"); // the next look may find the service
    return null;
  }
}

function add(list, lines) {
  if (!lines.length) return;
  const isAtEnd = list.scrollTop + list.clientHeight >= list.scrollHeight - 8;
  list.append(...lines.map(logLine));
  while (list.children.length > KEPT) list.firstElementChild.remove();
  if (isAtEnd) list.scrollTop = list.scrollHeight;
}

// As the server makes the first lines: log_lines in execution_parts.html.
function logLine(line) {
  const item = document.createElement("li");
  item.className = line.kind;
  for (const [name, text] of [["time", line.time], ["step", line.step], ["text", line.text]]) {
    const part = document.createElement("span");
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
  if (!root.querySelectorAll) return; // a text
  const all = (selector) => [...(root.matches?.(selector) ? [root] : []), ...root.querySelectorAll(selector)];
  all("[data-copy]").forEach(copies);
  all("ol.log").forEach((list) => { list.scrollTop = list.scrollHeight; });
  all(".drawn").forEach((box) => { box.scrollLeft = (box.scrollWidth - box.clientWidth) / 2; }); // its sides may be empty
  all("[data-log]").forEach(followLog);
  all("[data-confirm]").forEach(asks);
  all("[data-submit]").forEach(sends);
}

// What was just done is said once: not again when the page is loaded anew.
function forget() {
  const here = new URL(location.href);
  const said = here.searchParams.has("switched") ? ["switched", "api"] : ["said"];
  if (!here.searchParams.has(said[0])) return;
  said.forEach((name) => here.searchParams.delete(name));
  history.replaceState(null, "", here);
}

prepare(document);
forget();
document.querySelector("nav [aria-current]")?.scrollIntoView({ block: "nearest", inline: "nearest" }); // on a phone
follow();
