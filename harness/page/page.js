"use strict";
/* Opens and sorts the cases. A chart is drawn when its case is first opened, and again when the
   colour scheme changes. Texts of the report are only ever set as text. */
(() => {
  const numbers = JSON.parse(document.getElementById("numbers").textContent);
  const table = document.querySelector("table.cases");
  if (!table) return;
  const dark = matchMedia("(prefers-color-scheme: dark)");

  /* Okabe and Ito's palette, told apart with any colour vision; lighter on dark paper. */
  const theme = () =>
    dark.matches
      ? { ink: "#e4e7ea", soft: "#a3abb4", line: "#343a41", faint: "#69727c", accent: "#ff8f4d", outcomes: ["#63b3ed", "#ff8f4d", "#d69cc0"], series: ["#63b3ed", "#f2b84b", "#4cc9a4", "#d69cc0"] }
      : { ink: "#1b1f24", soft: "#565e68", line: "#e3e6ea", faint: "#a9b1ba", accent: "#c24d00", outcomes: ["#0068a8", "#c24d00", "#a6497f"], series: ["#0068a8", "#b87700", "#00805f", "#a6497f"] };

  const config = (colours, width) => ({
    /* The label at the right end of an axis needs room: the picture ends where its box does. */
    background: null, padding: { left: 2, top: 2, bottom: 2, right: 14 }, font: getComputedStyle(document.body).fontFamily, aria: false,
    view: { stroke: null }, mark: { aria: false }, line: { aria: false }, point: { aria: false }, rule: { aria: false }, rect: { aria: false }, bar: { aria: false },
    axis: { labelColor: colours.soft, titleColor: colours.soft, gridColor: colours.line, domainColor: colours.line, tickColor: colours.line, labelFontSize: 11, titleFontSize: 11, titleFontWeight: "normal", titlePadding: 8 },
    axisX: { grid: false },
    /* Two legends of a narrow chart stand below each other, each in as many columns as there is room for. */
    legend: { orient: "top", direction: "horizontal", columns: Math.max(1, Math.floor(width / 95)), layout: { top: { anchor: "start", direction: width < 480 ? "vertical" : "horizontal" } }, labelColor: colours.ink, labelFontSize: 11, symbolSize: 60, offset: 6, symbolOpacity: 1, symbolBaseFillColor: colours.soft },
  });

  const element = (name, text) => {
    const made = document.createElement(name);
    if (text !== undefined) made.textContent = text;
    return made;
  };

  function draw(section, caseNumbers) {
    const colours = theme();
    const plot = section.querySelector(".plot");
    const { spec } = CHARTS[section.dataset.chart](caseNumbers, colours);
    vegaEmbed(plot, { $schema: "https://vega.github.io/schema/vega-lite/v6.json", width: "container", height: 200, autosize: { type: "fit-x", contains: "padding" }, config: config(colours, plot.clientWidth), ...spec },
      { renderer: "svg", actions: false, ast: true, defaultStyle: false, tooltip: { disableDefaultStyle: true, theme: "plain" } })
      .catch((error) => { plot.textContent = `This chart cannot be drawn: ${error.message}`; });
  }

  function fill(section, caseNumbers) {
    const box = section.querySelector(".data > div");
    if (box.firstChild) return;
    const { columns, rows } = CHARTS[section.dataset.chart](caseNumbers, theme());
    const made = element("table");
    const head = made.createTHead().insertRow();
    for (const name of columns) {
      const cell = element("th", name);
      cell.scope = "col";
      head.append(cell);
    }
    const body = made.createTBody();
    for (const row of rows) {
      const line = body.insertRow();
      for (const value of row) line.append(element("td", value));
    }
    box.append(made);
  }

  /* Adds the picture and the table to a chart's title and caption, which name and describe it. */
  function prepare(section, name, caseNumbers) {
    const [title, caption] = section.children;
    title.id = name;
    caption.id = `${name}-caption`;
    const plot = element("div");
    plot.className = "plot";
    plot.setAttribute("role", "img");
    plot.setAttribute("aria-labelledby", title.id);
    plot.setAttribute("aria-describedby", caption.id);
    const data = element("details");
    data.className = "data";
    const summary = element("summary", "Numbers");
    const ofWhat = element("span", ` of ${title.textContent}`);
    ofWhat.className = "unseen";
    summary.append(ofWhat);
    const box = element("div");
    box.className = "scroll";
    box.tabIndex = 0;
    box.setAttribute("role", "group");
    box.setAttribute("aria-label", summary.textContent);
    data.append(summary, box);
    data.addEventListener("toggle", () => fill(section, caseNumbers));
    section.append(plot, data);
  }

  const sections = (body) => body.querySelectorAll("[data-chart]");
  const isOpen = (body) => body.querySelector("[aria-expanded]").getAttribute("aria-expanded") === "true";

  function toggle(body) {
    const button = body.querySelector("[aria-expanded]");
    const opened = !isOpen(body);
    button.setAttribute("aria-expanded", String(opened));
    body.querySelector(".below").hidden = !opened;
    if (!opened || body.dataset.drawn) return;
    const own = numbers[body.dataset.case];
    sections(body).forEach((section, at) => {
      if (!section.querySelector(".plot")) prepare(section, `chart-${body.dataset.case}-${at}`, own);
      draw(section, own);
    });
    body.dataset.drawn = "true";
  }

  const known = (text) => (text === "" ? null : text);

  function sort(header) {
    const key = header.dataset.key;
    const descending = header.getAttribute("aria-sort") === "ascending";
    for (const other of table.querySelectorAll("thead th")) other.removeAttribute("aria-sort");
    header.setAttribute("aria-sort", descending ? "descending" : "ascending");
    const byText = (one, other) => one.localeCompare(other, "en", { numeric: true });
    const bodies = [...table.tBodies].sort((one, other) => {
      const left = known(one.dataset[key]), right = known(other.dataset[key]);
      /* A missing value comes last either way. */
      if (left === null || right === null) return (left === null) - (right === null);
      const order = key === "id" ? byText(left, right) : left - right;
      return (descending ? -order : order) || byText(one.dataset.id, other.dataset.id);
    });
    table.append(...bodies);
  }

  table.addEventListener("click", (event) => {
    const header = event.target.closest("thead th");
    const row = event.target.closest("tr.row");
    if (header) sort(header);
    else if (row && !String(getSelection())) toggle(row.parentElement);
  });
  dark.addEventListener("change", () => {
    for (const body of table.tBodies) {
      if (isOpen(body)) for (const section of sections(body)) draw(section, numbers[body.dataset.case]);
      else delete body.dataset.drawn;
    }
  });
})();
