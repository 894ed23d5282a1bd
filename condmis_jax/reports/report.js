"use strict";
// Completions are hostile: everything from the data reaches the page through textContent alone.
(() => {
  const PAGE = 50;
  const EXCERPT = 220;
  const FIELDS = ["stage", "suite", "judge", "trigger", "question", "status", "verdict"];
  const FILTERS = {
    stage: "Stage", suite: "Suite", judge: "Judge", trigger: "Trigger", question: "Question",
    status: "Status", verdict: "Verdict",
  };
  const INVISIBLE = new RegExp(
    "[\\u0000-\\u0008\\u000b-\\u001f\\u007f-\\u009f\\u00ad\\u034f\\u061c\\u115f\\u1160\\u17b4\\u17b5" +
    "\\u180b-\\u180f\\u200b-\\u200f\\u2028-\\u202e\\u2060-\\u206f\\u2800\\u3164\\ufe00-\\ufe0f\\ufeff" +
    "\\uffa0\\ufff9-\\ufffb\\ufffe\\uffff\\u{d800}-\\u{dfff}\\u{e0000}-\\u{e0fff}]", "gu");

  const $ = (id) => document.getElementById(id);
  const data = JSON.parse($("data").textContent);
  const body = $("rows");
  const chosen = {};
  let matches = [];
  let page = 0;
  let active = 0;
  let timer = 0;

  const visible = (text) => text.replace(INVISIBLE, (c) =>
    "⟨U+" + c.codePointAt(0).toString(16).toUpperCase().padStart(4, "0") + "⟩");

  const words = (name) => name.replaceAll("_", " ");

  const make = (tag, className, text) => {
    const element = document.createElement(tag);
    if (className) element.className = className;
    if (text !== undefined) element.textContent = visible(String(text));
    return element;
  };

  const records = data.rows.map((row) => {
    const record = {};
    FIELDS.forEach((field, at) => { record[field] = data.names[row[at]]; });
    [record.sample, record.prompt, record.completion, record.facts] = row.slice(FIELDS.length);
    return record;
  });

  const promptTexts = [];
  const lower = (record) => {
    if (record.text !== undefined) return;
    promptTexts[record.prompt] ??=
      data.prompts[record.prompt].map((turn) => turn[1]).join("\n").toLowerCase();
    const facts = Object.values(record.facts).join("\n");
    record.text = (record.completion + "\n" + facts).toLowerCase();
  };
  // A word has no line break in it, so it lies in one of the two texts; joining them, or lower-casing
  // all of them at the first search, would be a task that a reader feels.
  const holds = (record, word) =>
    record.text.includes(word) || promptTexts[record.prompt].includes(word);
  const lowerWhenIdle = (at) => requestIdleCallback((deadline) => {
    while (at < records.length && deadline.timeRemaining() > 1) lower(records[at++]);
    if (at < records.length) lowerWhenIdle(at);
  });

  const shown = () => matches.slice(page * PAGE, (page + 1) * PAGE);
  const rows = () => body.querySelectorAll("tr.row");

  const search = () => {
    const sought = $("search").value.toLowerCase().split(/\s+/).filter(Boolean);
    const wanted = Object.entries(chosen).filter(([, value]) => value !== "");
    matches = records.filter((record) => {
      if (!wanted.every(([field, value]) => record[field] === value)) return false;
      if (sought.length > 0) lower(record);
      return sought.every((word) => holds(record, word));
    });
    page = 0;
    active = 0;
    render();
  };

  const render = () => {
    const fragment = document.createDocumentFragment();
    shown().forEach((record, at) => {
      const row = make("tr", "row");
      row.tabIndex = at === active ? 0 : -1;
      row.setAttribute("aria-expanded", "false");
      row.append(make("td", "", record.stage), make("td", "", record.trigger),
        make("td", "", record.question), make("td", "r", record.sample));
      const verdict = make("td");
      const kind = record.verdict.replace(" ", "-");
      const word = record.verdict === "no score" ? words(record.status) : record.verdict;
      verdict.append(make("span", "verdict v-" + kind, word));
      row.append(verdict);
      const answer = make("td", "answer");
      answer.append(make("div", "", record.completion.slice(0, EXCERPT) || "(empty)"));
      row.append(answer);
      fragment.append(row);
    });
    if (matches.length === 0) {
      const cell = make("td", "empty", "No answer matches. Clear the search or a filter.");
      cell.colSpan = 6;
      const row = make("tr");
      row.append(cell);
      fragment.append(row);
    }
    body.replaceChildren(fragment);
    const pages = Math.max(1, Math.ceil(matches.length / PAGE));
    const format = (n) => n.toLocaleString("en-US");
    $("count").textContent = matches.length === records.length
      ? format(records.length) + " answers"
      : format(matches.length) + " of " + format(records.length) + " answers";
    $("page").textContent = "Page " + format(page + 1) + " of " + format(pages);
    $("previous").disabled = page === 0;
    $("next").disabled = page >= pages - 1;
  };

  const detail = (record) => {
    const box = make("div", "detail");
    for (const [role, content] of data.prompts[record.prompt]) {
      box.append(make("p", "role", role), make("pre", "turn", content));
    }
    box.append(make("p", "role", "answer"), make("pre", "turn completion", record.completion));
    const facts = make("dl", "facts");
    const all = { suite: record.suite, judge: record.judge || "none", status: record.status,
      ...record.facts };
    for (const [key, value] of Object.entries(all)) {
      facts.append(make("dt", "", key), make("dd", "", value));
    }
    box.append(facts);
    const cell = make("td");
    cell.colSpan = 6;
    cell.append(box);
    const row = make("tr", "opened");
    row.append(cell);
    return row;
  };

  const toggle = (row) => {
    const open = row.nextElementSibling?.classList.contains("opened");
    if (open) row.nextElementSibling.remove();
    else row.after(detail(shown()[[...rows()].indexOf(row)]));
    row.setAttribute("aria-expanded", String(!open));
  };

  const choose = (at) => {
    const all = rows();
    if (all.length === 0) return;
    all[active]?.setAttribute("tabindex", "-1");
    active = Math.max(0, Math.min(at, all.length - 1));
    all[active].tabIndex = 0;
    all[active].focus();
  };

  const turn = (by, at) => {
    const next = page + by;
    if (next < 0 || next * PAGE >= matches.length) return false;
    page = next;
    active = 0;
    render();
    if (at !== undefined) choose(at);
    return true;
  };

  const buildFilters = () => {
    for (const [field, label] of Object.entries(FILTERS)) {
      const values = [...new Set(records.map((record) => record[field]))];
      if (values.length < 2) continue;
      const select = document.createElement("select");
      select.id = "filter-" + field;
      const any = make("option", "", "any");
      any.value = "";
      select.append(any);
      for (const value of values) {
        const option = make("option", "", (field === "status" ? words(value) : value) || "none");
        option.value = value;
        select.append(option);
      }
      select.addEventListener("change", () => { chosen[field] = select.value; search(); });
      const wrap = make("label", "", label + " ");
      wrap.append(select);
      $("filters").append(wrap);
    }
  };

  const clear = () => {
    $("search").value = "";
    for (const select of $("filters").querySelectorAll("select")) select.value = "";
    for (const field of Object.keys(chosen)) delete chosen[field];
    search();
  };

  $("search").addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(search, 120);
  });
  $("search").addEventListener("keydown", (event) => {
    if (event.key === "Escape") { $("search").value = ""; search(); }
    else if (event.key === "ArrowDown" || event.key === "Enter") {
      event.preventDefault();
      clearTimeout(timer);
      search();
      choose(0);
    }
  });
  $("clear").addEventListener("click", clear);
  $("previous").addEventListener("click", () => turn(-1));
  $("next").addEventListener("click", () => turn(1));
  body.addEventListener("click", (event) => {
    const row = event.target.closest("tr.row");
    if (!row || String(getSelection())) return;
    choose([...rows()].indexOf(row));
    toggle(row);
  });
  body.addEventListener("keydown", (event) => {
    const row = event.target.closest("tr.row");
    if (!row || event.ctrlKey || event.metaKey || event.altKey) return;
    const acts = {
      ArrowDown: () => active + 1 < rows().length ? choose(active + 1) : turn(1, 0),
      ArrowUp: () => active > 0 ? choose(active - 1) : turn(-1, PAGE - 1),
      ArrowRight: () => turn(1, 0),
      ArrowLeft: () => turn(-1, 0),
      Home: () => choose(0),
      End: () => choose(PAGE),
      Enter: () => toggle(row),
      " ": () => toggle(row),
      Escape: () => row.getAttribute("aria-expanded") === "true" && toggle(row),
    };
    if (!(event.key in acts)) return;
    event.preventDefault();
    acts[event.key]();
  });
  document.addEventListener("keydown", (event) => {
    const typing = /^(INPUT|TEXTAREA)$/.test(event.target.tagName ?? "");
    if (event.key !== "/" || typing || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    $("search").focus();
    $("search").select();
  });

  buildFilters();
  search();
  $("browser").hidden = false;
  lowerWhenIdle(0);
})();
