"use strict";
const page = document.documentElement, up = page.dataset.up;
const find = (id) => document.getElementById(id);

// ---------------------------------------------------------------- light, dark, or as the system

const THEMES = { "": "◐ auto", light: "☀ light", dark: "☾ dark" };
const names = Object.keys(THEMES), button = find("theme");
let theme = names.includes(page.style.colorScheme) ? page.style.colorScheme : "";
const showTheme = () => {
  page.style.colorScheme = theme;
  button.textContent = THEMES[theme];
  button.setAttribute("aria-label", `Theme: ${theme || "as the system"}. Press to change.`);
};
button.addEventListener("click", () => {
  theme = names[(names.indexOf(theme) + 1) % names.length];
  showTheme();
  try { localStorage.setItem("theme", theme); } catch { /* no storage: for this page alone */ }
});
showTheme();

// ---------------------------------------------------------------- search

const query = find("query"), found = find("found"), MOST = 15;

// A script and not JSON, as a page that was opened from a disk may load nothing else.
const load = () => {
  if (window.sections || document.querySelector("script[src$='search.js']")) return;
  const script = document.createElement("script");
  script.src = `${up}search.js`;
  script.onload = search;
  document.head.append(script);
};

const escaped = (text) => text.replace(/[.*+?^${}()|[\]\\]/g, "\\$&");
const patterns = () => query.value.trim().split(/\s+/).filter(Boolean)
  .map((word) => new RegExp(`(?<![\\p{L}\\p{N}])${escaped(word)}`, "giu"));  // from its beginning

// Every word must occur; in a title or heading it counts for ten.
const score = (section, words) => {
  let total = 0;
  for (const word of words) {
    const count = (text) => (text.match(word) || []).length;
    const here = 10 * count(section[1]) + 10 * count(section[3]) + Math.min(count(section[4]), 9);
    if (!here) return 0;
    total += here;
  }
  return total;
};

// The words around the first hit, with all hits marked. All of it enters the page as text.
const extract = (text, words) => {
  const any = new RegExp(words.map((word) => word.source).join("|"), "giu");
  const first = Math.max(0, text.search(any) - 60);
  const part = (first ? "…" : "") + text.slice(first, first + 180) + "…";
  const line = document.createElement("span");
  let end = 0;
  for (const hit of part.matchAll(any)) {
    const mark = document.createElement("mark");
    mark.textContent = hit[0];
    line.append(part.slice(end, hit.index), mark);
    end = hit.index + hit[0].length;
  }
  line.append(part.slice(end));
  return line;
};

const entry = ([target, title, anchor, heading, text], words) => {
  const link = document.createElement("a"), name = document.createElement("b");
  link.href = `${up}${target}${anchor ? "#" + anchor : ""}`;
  name.textContent = title;
  link.append(name, heading === title ? "" : ` › ${heading}`, extract(text, words));
  link.addEventListener("click", close);
  return link;
};

function search() {
  const words = patterns();
  found.hidden = !words.length || !window.sections;
  if (found.hidden) return;
  const hits = window.sections.map((section) => [score(section, words), section])
    .filter(([points]) => points).sort((a, b) => b[0] - a[0]);
  const says = document.createElement("p");
  says.textContent = hits.length > MOST ? `The first ${MOST} of ${hits.length} places`
    : `${hits.length || "No"} ${hits.length === 1 ? "place" : "places"}`;
  found.replaceChildren(says, ...hits.slice(0, MOST).map(([, section]) => entry(section, words)));
}

function close() { found.hidden = true; }

query.addEventListener("focus", () => { load(); search(); });
query.addEventListener("input", search);
document.addEventListener("click", (event) => event.target.closest("search") || close());
document.addEventListener("keydown", (event) => {
  const typing = event.target.closest("input, textarea, select");
  if (event.key === "/" && !typing) {
    event.preventDefault();
    query.focus();
  } else if (event.key === "Escape" && !found.hidden) {
    close();
    query.focus();
    close();
  } else if (event.target.closest("search") && ["ArrowDown", "ArrowUp", "Enter"].includes(event.key)) {
    const stops = [query, ...found.querySelectorAll("a")], at = stops.indexOf(document.activeElement);
    const to = event.key === "ArrowUp" ? at - 1 : at + 1;
    if (event.key === "Enter" && at > 0) return;  // the link is followed
    event.preventDefault();
    if (event.key === "Enter") stops[1]?.click();
    else stops[to]?.focus();
  }
});

// ---------------------------------------------------------------- the list of pages

const pages = find("pages"), here = pages.querySelector("[aria-current]");
if (here) pages.scrollTop = here.offsetTop - 100;  // the ninth lesson is below the edge
pages.addEventListener("click", (event) => {  // on a phone it closes when something was chosen
  if (event.target.closest("a") && pages.matches(":popover-open")) pages.hidePopover();
});
