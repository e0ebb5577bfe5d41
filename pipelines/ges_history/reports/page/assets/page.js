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
  const number = (value, digits) => value.toLocaleString("en-US", { minimumFractionDigits: digits, maximumFractionDigits: digits }).replace("-", "\u2212");

  // --- numbers in words, as words.py has them
  function size(mb) {
    const [unit, factor] = [["TB", 1048576], ["GB", 1024], ["MB", 1]].find(([, least]) => Math.abs(mb) >= least) || ["MB", 1];
    const value = mb / factor;
    return number(value, unit === "MB" && (Math.abs(value) >= 100 || Number.isInteger(value)) ? 0 : 1) + " " + unit;
  }

  const two = (whole, large, rest, small) => {
    if (!whole) return `${rest} ${small}`;
    const name = large === "days" && whole === 1 ? "day" : large;
    return number(whole, 0) + " " + name + (rest ? ` ${rest} ${small}` : "");
  };

  function hours(value) {
    if (value < 0) return "\u2212" + hours(-value);
    let total = Math.round(value * 3600);
    if (total < 3600) return two(Math.floor(total / 60), "min", total < 600 ? total % 60 : 0, "s");
    total = Math.round(total / 60);
    if (total < 48 * 60) return two(Math.floor(total / 60), "h", total % 60, "min");
    const whole = Math.round(total / 60);
    return two(Math.floor(whole / 24), "days", whole < 14 * 24 ? whole % 24 : 0, "h");
  }

  const seconds = (value) => (value < 60 ? number(value, Number.isInteger(value) ? 0 : 1) + " s" : hours(value / 3600));

  // --- the rows of each kind of chart; `tip` is what a tooltip says
  const KINDS = { size_drop: "size dropped to ", size_jump: "size jumped to ", slow: "took " };

  function since(rows) {
    if (!weeksShown) return rows;
    const first = (packed.today - 7 * weeksShown) * DAY;
    return rows.filter((row) => row.day > first);
  }

  function marks(graph, wanted, factor) {
    return since(graph.a.filter((mark) => wanted(mark[1])).map(([day, kind, value]) => ({ day, value: value / factor, kind, raw: value })));
  }

  // Bands to point at, from halfway to the row before to halfway to the row after.
  function pointers(rows) {
    const sorted = [...rows].sort((a, b) => a.day - b.day);
    return sorted.map(({ day, tip }, n) => ({
      day, tip,
      from: n ? (sorted[n - 1].day + day) / 2 : day - DAY / 2,
      to: n + 1 < sorted.length ? (day + sorted[n + 1].day) / 2 : day + DAY / 2,
    }));
  }

  function tellMarks(rows, found, length) {
    for (const { day, kind, raw } of found) {
      const row = rows.find((one) => one.day <= day && day < one.day + length);
      if (row) row.tip.Unusual = KINDS[kind] + (kind === "slow" ? seconds(raw) : size(raw));
    }
  }

  function sizes(graph) {
    const factor = graph.u[0];
    const rows = since(unpack(graph.s, 1, ["size", "mean"])).map(({ day, size: mb, mean }) => {
      const partial = day === packed.today * DAY;
      return {
        day, size: mb / factor, mean: mean / factor, partial,
        tip: { [partial ? "Today, so far" : "Day"]: date(day), Size: size(mb), "7-day mean": size(mean) },
      };
    });
    const forecast = graph.f.map(([day, mb, low, high]) => ({
      day: day * DAY, size: mb / factor, low: low / factor, high: high / factor,
      tip: { Forecast: date(day * DAY), Size: size(mb), "95 % between": `${size(low)} and ${size(high)}` },
    }));
    const found = marks(graph, (kind) => kind !== "slow", factor);
    tellMarks(rows, found, DAY);
    const today = rows.some((row) => row.partial) ? forecast.slice(1) : forecast;
    return { sizes: rows, forecast, marks: found, pointers: pointers([...rows, ...today]) };
  }

  function durations(graph) {
    const factor = graph.u[1];
    const all = unpack(graph.d, 7, ["p50", "p95"]);
    const rows = since(all).map((row) => {
      const partial = graph.p === 1 && row === all[all.length - 1];
      return {
        day: row.day, p50: row.p50 / factor, p95: row.p95 / factor, partial,
        tip: { [partial ? "Week so far, from" : "Week from"]: date(row.day), Median: seconds(row.p50), "95 % within": seconds(row.p95) },
      };
    });
    const found = marks(graph, (kind) => kind === "slow", factor);
    tellMarks(rows, found, 7 * DAY);
    return { weeks: rows, marks: found, pointers: pointers(rows) };
  }

  function stored() {
    const { first, names, parts, since: complete, ahead, unit } = packed.stored;
    const columns = parts.map(column);
    const days = (columns[0] || []).map((_, n) => {
      const day = (first + n) * DAY;
      const total = columns.reduce((sum, mb) => sum + mb[n], 0);
      const tip = { Day: date(day), Stored: size(total) };
      names.forEach((name, place) => { tip[`${place + 1}. ${name}`] = size(columns[place][n]); });
      if (complete !== null && first + n < complete) tip.Note = "what was deleted before the first load is missing";
      return { day, tip };
    });
    const points = ahead.map(([day, mb]) => ({ day: day * DAY, total: mb / unit, tip: { Forecast: date(day * DAY), Stored: size(mb) } }));
    return {
      parts: columns.flatMap((mb, part) => mb.map((value, n) => ({ day: (first + n) * DAY, part, size: value / unit }))),
      ahead: points,
      first: complete === null ? [] : [{ day: complete * DAY }],
      pointers: pointers([...days, ...points.slice(1)]),
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
      const partial = day === packed.today;
      days.push({
        week: (day - weekday) * DAY, until: (day - weekday + 7) * DAY, weekday: WEEKDAYS[weekday],
        level: level(succeeded, failed), partial,
        tip: { [partial ? "Today, so far" : "Day"]: date(day * DAY), Succeeded: number(succeeded, 0), Failed: number(failed, 0) },
      });
    }
    return { days };
  }

  const NARROW = 560; // pixels in which a year of days cannot be read
  const isNarrow = (figure) => figure.clientWidth > 0 && figure.clientWidth < NARROW;

  function datasets(figure) {
    const { chart, graph } = figure.dataset;
    if (chart === "stored") return stored();
    if (graph === "fleet") return calendar(packed.fleet, isNarrow(figure) ? packed.mondays.graph : packed.mondays.fleet);
    const found = packed.graphs[Number(graph)];
    if (chart === "calendar") return calendar(found.o, packed.mondays.graph);
    return chart === "size" ? sizes(found) : durations(found);
  }

  // --- drawing, when a chart comes into view
  const OPTIONS = {
    actions: false, ast: true, renderer: "svg", mode: "vega-lite", defaultStyle: false,
    tooltip: { disableDefaultStyle: true }, logLevel: 1,
    loader: { http: { credentials: "omit" } },
  };

  async function draw(figure) {
    const { chart } = figure.dataset;
    const wanted = chart === "size" || chart === "duration" ? weeksShown : 0;
    if (drawn.get(figure)?.weeks === wanted) return;
    drawn.get(figure)?.view?.finalize();
    drawn.set(figure, { weeks: wanted });
    const spec = { ...packed.specs[chart], datasets: datasets(figure) };
    const place = document.createElement("div");
    place.className = "live";
    figure.querySelector(".live").replaceWith(place);
    const { view } = await window.vegaEmbed(place, spec, OPTIONS);
    drawn.set(figure, { weeks: wanted, view });
    figure.classList.add("drawn");
    if (figure.id === "fleet-calendar") document.getElementById("fewer-weeks").hidden = !isNarrow(figure);
  }

  const figures = [...document.querySelectorAll("figure[data-chart]")];
  const seen = new IntersectionObserver((entries) => {
    for (const { isIntersecting, target } of entries) if (isIntersecting) draw(target);
  }, { rootMargin: "400px" });
  figures.forEach((figure) => seen.observe(figure));

  // --- the days of the objectives: one strip a graph
  const tooltip = document.createElement("div");
  tooltip.className = "tip";
  tooltip.hidden = true;
  document.body.append(tooltip);

  function ages([first, steps]) {
    let total = 0;
    return { first, hours: steps.map((step) => (step === null ? null : (total += step) / 10)) };
  }

  function pointAt(event) {
    const strip = event.target.closest?.(".strip");
    tooltip.hidden = !strip;
    if (!strip) return;
    const graph = packed.graphs[Number(strip.dataset.graph)];
    if (!graph?.h) { tooltip.hidden = true; return; }
    const { first, hours: found } = ages(graph.h);
    const box = strip.getBoundingClientRect();
    const day = packed.strip.first + Math.min(Math.floor((event.clientX - box.left) / box.width * packed.strip.days), packed.strip.days - 1);
    const age = found[day - first];
    const lines = [["Day", date(day * DAY)]];
    if (age === undefined || age === null) lines.push(["Oldest success", "not known"]);
    else lines.push(["Last success, at most", hours(age) + " old"]);
    if (graph.t !== null) lines.push(["Target", hours(graph.t)]);
    tooltip.replaceChildren(...lines.map(([label, text]) => {
      const line = document.createElement("div");
      line.append(Object.assign(document.createElement("span"), { textContent: label }), " ", text);
      return line;
    }));
    tooltip.style.left = `${Math.min(event.clientX + 12, window.innerWidth - tooltip.offsetWidth - 8)}px`;
    tooltip.style.top = `${event.clientY + 16}px`;
  }

  document.addEventListener("pointermove", pointAt);

  // --- on paper: every graph that has its pictures is unfolded
  let unfolded = [];
  window.addEventListener("beforeprint", () => {
    unfolded = [...document.querySelectorAll("details:not([open])")].filter((part) => part.matches(".rest, .with-stills"));
    unfolded.forEach((part) => { part.open = true; });
  });
  window.addEventListener("afterprint", () => unfolded.forEach((part) => { part.open = false; }));

  // --- choosing
  const controls = document.getElementById("controls");
  const list = document.getElementById("list");
  const find = document.getElementById("find");
  const show = document.getElementById("show");
  const project = document.getElementById("project");
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
        && (!project?.value || card.dataset.project === project.value)
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
  project?.addEventListener("change", filter);
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
