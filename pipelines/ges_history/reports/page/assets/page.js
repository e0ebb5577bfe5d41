"use strict";
(() => {
  const packed = JSON.parse(document.getElementById("packed").textContent);
  const DAY = 86400000;
  const WEEKDAYS = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];
  const drawn = new Map();
  let weeksShown = 0;

  // --- unpacking what series.py packed
  const summed = (steps) => { let total = 0; return steps.map((step) => (total += step)); };
  const column = (differences) => summed(differences).map((tenths) => tenths / 10);

  function unpack(series, step, names) {
    if (!series) return [];
    const [first, steps, ...columns] = series;
    const values = columns.map(column);
    const days = steps ? summed([first, ...steps]) : values[0].map((_, n) => first + n * step);
    return days.map((day, n) => {
      const row = { day: day * DAY };
      names.forEach((name, c) => { row[name] = values[c][n]; });
      return row;
    });
  }

  const date = (ms) => new Date(ms).toLocaleDateString("en-GB", { day: "numeric", month: "short", year: "numeric", timeZone: "UTC" });
  const readable = (value, unit) => value.toLocaleString("en-US", { maximumFractionDigits: value < 10 ? 2 : 1 }) + " " + unit;

  function since(rows) {
    if (!weeksShown) return rows;
    const first = (packed.today - 7 * weeksShown) * DAY;
    return rows.filter((row) => row.day > first);
  }

  function marks(graph, wanted, factor) {
    return since(graph.a.filter((mark) => wanted(mark[1])).map(([day, , value]) => ({ day, value: value / factor })));
  }

  function sizes(graph) {
    const [factor] = graph.u.map((unit) => unit);
    const unit = { 1: "MB", 1024: "GB", 1048576: "TB" }[factor];
    return {
      sizes: since(unpack(graph.s, 1, ["size", "mean"])).map(({ day, size, mean }) => ({
        day, size: size / factor, mean: mean / factor, date: date(day),
        Size: readable(size / factor, unit), "7-day mean": readable(mean / factor, unit),
      })),
      forecast: graph.f.map(([day, mb]) => ({
        day: day * DAY, size: mb / factor, date: date(day * DAY), Forecast: readable(mb / factor, unit),
      })),
      marks: marks(graph, (kind) => kind !== "slow", factor),
    };
  }

  function durations(graph) {
    const factor = graph.u[1];
    const unit = { 1: "s", 60: "min", 3600: "h" }[factor];
    return {
      weeks: since(unpack(graph.d, 7, ["p50", "p95"])).map(({ day, p50, p95 }) => ({
        day, p50: p50 / factor, p95: p95 / factor, "Week from": date(day),
        Median: readable(p50 / factor, unit), "95 % within": readable(p95 / factor, unit),
      })),
      marks: marks(graph, (kind) => kind === "slow", factor),
    };
  }

  function level(succeeded, failed) {
    if (!failed) return succeeded ? "ok" : "none";
    const share = failed / (succeeded + failed);
    return share <= 0.1 ? "few" : share < 0.5 ? "some" : "most";
  }

  function calendar(series, monday) {
    const known = new Map(unpack(series, 1, ["succeeded", "failed"]).map((row) => [row.day / DAY, row]));
    const days = [];
    for (let day = monday; day <= packed.today; day += 1) {
      const { succeeded = 0, failed = 0 } = known.get(day) || {};
      const weekday = (day + 3) % 7;
      days.push({
        week: (day - weekday) * DAY, until: (day - weekday + 7) * DAY, weekday: WEEKDAYS[weekday],
        level: level(succeeded, failed), date: date(day * DAY),
        Succeeded: succeeded.toLocaleString("en-US"), Failed: failed.toLocaleString("en-US"),
      });
    }
    return { days };
  }

  function datasets(kind, place) {
    if (place === "fleet") return calendar(packed.fleet, packed.mondays.fleet);
    const graph = packed.graphs[Number(place)];
    if (kind === "calendar") return calendar(graph.o, packed.mondays.graph);
    return kind === "size" ? sizes(graph) : durations(graph);
  }

  // --- drawing, when a chart comes into view
  const OPTIONS = {
    actions: false, ast: true, renderer: "svg", mode: "vega-lite", defaultStyle: false,
    tooltip: { disableDefaultStyle: true }, logLevel: 1,
    loader: { http: { credentials: "omit" } },
  };

  async function draw(figure) {
    const { chart, graph } = figure.dataset;
    const wanted = chart === "calendar" ? 0 : weeksShown;
    if (drawn.get(figure)?.weeks === wanted) return;
    drawn.get(figure)?.view?.finalize();
    drawn.set(figure, { weeks: wanted });
    const spec = { ...packed.specs[chart], datasets: datasets(chart, graph) };
    const place = document.createElement("div");
    place.className = "live";
    figure.querySelector(".live").replaceWith(place);
    const { view } = await window.vegaEmbed(place, spec, OPTIONS);
    drawn.set(figure, { weeks: wanted, view });
    figure.classList.add("drawn");
  }

  const figures = [...document.querySelectorAll("figure[data-chart]")];
  const seen = new IntersectionObserver((entries) => {
    for (const { isIntersecting, target } of entries) if (isIntersecting) draw(target);
  }, { rootMargin: "400px" });
  figures.forEach((figure) => seen.observe(figure));

  // --- choosing
  const controls = document.getElementById("controls");
  const list = document.getElementById("list");
  const find = document.getElementById("find");
  const show = document.getElementById("show");
  const cards = [...list.children].map((card) => ({
    card,
    text: (card.querySelector("h3").textContent + " " + card.querySelector(".facts .id:last-child").textContent).toLowerCase(),
    name: card.querySelector("h3").textContent,
    number: (key) => (card.dataset[key] === "" ? -Infinity : Number(card.dataset[key])),
  }));

  function filter() {
    const words = find.value.trim().toLowerCase();
    let matches = 0;
    for (const { card, text } of cards) {
      const fits = text.includes(words)
        && (show.value !== "attention" || card.dataset.alarm !== "0")
        && (show.value !== "notice" || card.dataset.remarks !== "0");
      card.hidden = !fits;
      matches += fits;
    }
    document.getElementById("matches").textContent = matches === cards.length ? "" : `${matches} of ${cards.length}`;
    if (matches === 1) cards.find(({ card }) => !card.hidden).card.open = true;
  }

  function order(event) {
    const key = event.target.value;
    const sorted = [...cards].sort((a, b) => (
      key === "name" ? a.name.localeCompare(b.name)
        : key === "place" ? a.number(key) - b.number(key) : b.number(key) - a.number(key)
    ) || a.number("place") - b.number("place"));
    list.append(...sorted.map(({ card }) => card));
  }

  function openLinked() {
    const card = /^#graph-\d+$/.test(location.hash) && document.querySelector(location.hash);
    if (!card) return;
    card.hidden = false;
    card.open = true;
    card.scrollIntoView();
    card.querySelector("summary").focus({ preventScroll: true });
  }

  controls.hidden = false;
  controls.addEventListener("submit", (event) => event.preventDefault());
  find.addEventListener("input", filter);
  show.addEventListener("change", filter);
  document.getElementById("order").addEventListener("change", order);
  document.getElementById("window").addEventListener("change", (event) => {
    weeksShown = Number(event.target.value);
    for (const figure of drawn.keys()) if (figure.offsetParent) draw(figure);
  });
  window.addEventListener("hashchange", openLinked);
  list.addEventListener("toggle", (event) => {
    if (event.target.open) event.target.querySelectorAll("figure[data-chart]").forEach(draw);
  }, true);
  filter();
  openLinked();
})();
