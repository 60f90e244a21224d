"use strict";

// Swagger UI (https://swagger.io/docs/open-source-tools/swagger-ui/usage/configuration/) on our own description. It
// takes minutes for thousands of APIs, so where there are many, one module is shown at a time.
const MANY = 300; // paths

const main = document.getElementById("apis");

fetch("/openapi.json")
  .then((answer) => {
    if (!answer.ok) throw new Error(`it is answered with ${answer.status}`);
    return answer.json();
  })
  .then(show)
  .catch((error) => {
    main.textContent = `The description of the APIs can't be shown: ${error.message}`;
  });

const dark = window.matchMedia("(prefers-color-scheme: dark)");
dark.addEventListener("change", paint);
paint();

function paint() {
  document.documentElement.classList.toggle("dark-mode", dark.matches);
}

function show(description) {
  if (Object.keys(description.paths).length > MANY) {
    const names = description.tags.map((tag) => tag.name);
    const asked = new URLSearchParams(window.location.search).get("module");
    const module = names.includes(asked) ? asked : names[0];
    document.querySelector("nav").prepend(choice(names, module));
    description = only(module, description);
  }
  SwaggerUIBundle({
    dom_id: "#apis",
    spec: description,
    validatorUrl: "none", // the badge would tell another host where we are
    deepLinking: true,
    docExpansion: "list",
    defaultModelsExpandDepth: -1,
    displayRequestDuration: true,
  });
}

function only(module, description) {
  const has = ([, operations]) => Object.values(operations).some((operation) => operation.tags.includes(module));
  return {
    ...description,
    tags: description.tags.filter((tag) => tag.name === module),
    paths: Object.fromEntries(Object.entries(description.paths).filter(has)),
  };
}

function choice(names, chosen) {
  const label = document.createElement("label");
  const select = document.createElement("select");
  label.append("Module ", select);
  for (const name of names) select.add(new Option(name, name, name === chosen, name === chosen));
  select.addEventListener("change", () => {
    window.location.assign(`/docs?module=${encodeURIComponent(select.value)}`);
  });
  return label;
}
