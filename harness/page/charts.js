"use strict";
/* One function per chart: from the numbers of a case to a Vega-Lite specification, and to the
   columns and rows of its table. Nothing here touches the document. */
const CHARTS = (() => {
  const OUTCOMES = ["fits", "out of memory", "error"];
  const SHAPES = ["circle", "cross", "triangle-up"];

  const unitOf = (bytes) => (bytes >= 2 ** 30 ? [2 ** 30, "GiB"] : bytes >= 2 ** 20 ? [2 ** 20, "MiB"] : [2 ** 10, "KiB"]);
  const digits = (number, count = 4) => (number == null ? "-" : String(Number(number.toPrecision(count))));
  const bytes = (number) => {
    if (number == null) return "-";
    const [unit, name] = unitOf(number);
    return `${(number / unit).toFixed(1)} ${name}`;
  };
  /* Both ends of a long name tell holders apart, and an axis would cut the second one. */
  const short = (name) => (name.length <= 30 ? name : `${name.slice(0, 11)}…${name.slice(-18)}`);
  const spread = (values) => Math.max(...values) > 20 * Math.max(1, Math.min(...values));
  const batchScale = (sizes) => ({ ...(spread(sizes) ? { type: "log" } : { type: "linear", zero: false }), nice: false, padding: 12 });
  /* Batch sizes are copied into code, so they stand in full as long as they fit. */
  const batchAxis = (sizes) => ({ title: "batch size", format: Math.max(0, ...sizes) < 1e5 ? "d" : "~s", tickCount: 5,
    ...(spread(sizes) ? { grid: false } : {}),
    ...(new Set(sizes).size < 4 ? { values: [...new Set(sizes)] } : {}) });

  const outcomes = (theme, used) => ({
    color: { field: "outcome", type: "nominal", title: null,
      scale: { domain: used, range: used.map((one) => theme.outcomes[OUTCOMES.indexOf(one)]) } },
    shape: { field: "outcome", type: "nominal", title: null,
      scale: { domain: used, range: used.map((one) => SHAPES[OUTCOMES.indexOf(one)]) } },
  });
  const seedScale = (theme, seeds) => ({ domain: seeds, range: seeds.map((_, at) => theme.series[at % theme.series.length]) });

  const probesOf = (numbers) => {
    let elapsed = 0;
    return (numbers.probes || []).map(([batch, outcome, peak, seconds, speed, kind, phase], at) => {
      const begin = elapsed;
      elapsed += seconds;
      return { order: at + 1, batch, outcome: OUTCOMES[outcome], peak, seconds, begin, end: elapsed, speed, kind, phase };
    });
  };
  const usedOutcomes = (rows) => OUTCOMES.filter((one) => rows.some((row) => row.outcome === one));

  function memory(numbers, theme) {
    const rows = probesOf(numbers).filter((row) => row.kind === "train");
    const top = Math.max(numbers.limit || 0, ...rows.map((row) => row.peak || 0));
    const [unit, name] = unitOf(top);
    const limit = numbers.limit ? numbers.limit / unit : null;
    /* A probe that ran out of memory has asked for more than the limit. */
    const points = rows
      .map((row) => ({ ...row, y: row.outcome === "oom" || row.outcome === "out of memory" ? limit : row.peak == null ? null : row.peak / unit,
        memory: row.outcome === "fits" ? bytes(row.peak) : "more than the limit" }))
      .filter((row) => row.y != null && row.outcome !== "error");
    const y = { field: "y", type: "quantitative", title: name, scale: { zero: true, domainMax: 1.06 * (top / unit) }, axis: { tickCount: 5 } };
    const x = { field: "batch", type: "quantitative", scale: batchScale(points.map((row) => row.batch)), axis: batchAxis(points.map((row) => row.batch)) };
    const layer = [
      { transform: [{ filter: "datum.outcome === 'fits'" }], mark: { type: "line", strokeWidth: 1.5, opacity: 0.5, color: theme.outcomes[0] }, encoding: { x, y } },
      { mark: { type: "point", filled: true, size: 60, opacity: 1 }, encoding: { x, y, ...outcomes(theme, usedOutcomes(points)),
        tooltip: [{ field: "batch", title: "batch" }, { field: "outcome" }, { field: "memory" }] } },
    ];
    if (limit) layer.unshift({ data: { values: [{ limit }] }, mark: { type: "rule", strokeDash: [5, 4], strokeWidth: 1.5, color: theme.accent }, encoding: { y: { field: "limit", type: "quantitative" } } });
    return {
      spec: { data: { values: points }, layer },
      columns: ["batch", "outcome", "peak"],
      rows: rows.map((row) => [row.batch, row.outcome, row.outcome === "fits" ? bytes(row.peak) : "-"]),
    };
  }

  function bracket(numbers, theme) {
    const rows = probesOf(numbers);
    const used = usedOutcomes(rows);
    const y = { field: "batch", type: "quantitative", scale: batchScale(rows.map((row) => row.batch)), axis: batchAxis(rows.map((row) => row.batch)) };
    const tooltip = [{ field: "order", title: "probe" }, { field: "kind" }, { field: "batch" }, { field: "outcome" }, { field: "seconds", title: "seconds" }];
    return {
      spec: { data: { values: rows }, layer: [
        { mark: { type: "line", strokeWidth: 1, opacity: 0.35, color: theme.soft }, encoding: { x: { field: "end", type: "quantitative" }, y, order: { field: "order" } } },
        { mark: { type: "rule", strokeWidth: 4, strokeCap: "round" }, encoding: { x: { field: "begin", type: "quantitative", title: "seconds of probing", axis: { tickCount: 6 } }, x2: { field: "end" }, y, color: outcomes(theme, used).color, tooltip } },
        { mark: { type: "point", filled: true, size: 60, opacity: 1 }, encoding: { x: { field: "end", type: "quantitative" }, y, ...outcomes(theme, used), tooltip } },
      ] },
      columns: ["probe", "of", "batch", "outcome", "in", "seconds"],
      rows: rows.map((row) => [row.order, row.kind, row.batch, row.outcome, row.phase || "-", digits(row.seconds)]),
    };
  }

  function throughput(numbers, theme) {
    const timed = (numbers.speeds || []).map(([batch, speed, sigma]) => ({ batch, speed, low: speed - (sigma || 0), high: speed + (sigma || 0), sigma }));
    const rows = timed.length ? timed : probesOf(numbers).filter((row) => row.kind === "train" && row.speed != null).sort((one, other) => one.batch - other.batch);
    const x = { field: "batch", type: "quantitative", scale: batchScale(rows.map((row) => row.batch)), axis: batchAxis(rows.map((row) => row.batch)) };
    const y = { field: "speed", type: "quantitative", title: "samples/s", scale: { zero: true }, axis: { format: "~s", tickCount: 5 } };
    const layer = [
      { mark: { type: "line", strokeWidth: 1.5, opacity: 0.5, color: theme.series[0] }, encoding: { x, y } },
      { mark: { type: "point", filled: true, size: 60, opacity: 1, color: theme.series[0] }, encoding: { x, y, tooltip: [{ field: "batch" }, { field: "speed", title: "samples/s" }] } },
    ];
    if (timed.length) layer.unshift({ mark: { type: "rule", strokeWidth: 2, color: theme.series[0] }, encoding: { x, y: { field: "low", type: "quantitative" }, y2: { field: "high" } } });
    return {
      spec: { data: { values: rows }, layer },
      columns: ["batch", "samples/s", ...(timed.length ? ["standard deviation"] : [])],
      rows: rows.map((row) => [row.batch, digits(row.speed), ...(timed.length ? [digits(row.sigma, 2)] : [])]),
    };
  }

  const rateAxis = { field: "rate", type: "quantitative", scale: { type: "log", nice: false, padding: 12 }, title: "learning rate", axis: { format: "~e", tickCount: 5, labelOverlap: true } };

  /* The suggestion, with the range in which training is as good, behind a chart of rates. */
  function suggestion(numbers, theme) {
    const layer = [];
    if ((numbers.range || []).length === 2) layer.push({ data: { values: [{ low: numbers.range[0], high: numbers.range[1] }] }, mark: { type: "rect", color: theme.accent, opacity: 0.13 }, encoding: { x: { field: "low", type: "quantitative" }, x2: { field: "high" } } });
    if (numbers.rate) layer.push({ data: { values: [{ rate: numbers.rate }] }, mark: { type: "rule", color: theme.accent, strokeWidth: 2 }, encoding: { x: { field: "rate", type: "quantitative" } } });
    return layer;
  }

  function trials(numbers, theme) {
    const rows = numbers.trials.map(([seed, rate, loss]) => ({ seed: `seed ${seed}`, rate, loss, shown: digits(loss) }));
    const known = rows.filter((row) => row.loss != null);
    const top = known.length ? Math.max(...known.map((row) => row.loss)) : 1;
    const points = rows.map((row) => ({ ...row, y: row.loss == null ? top : row.loss, outcome: row.loss == null ? "diverged" : "ended" }));
    const seeds = [...new Set(rows.map((row) => row.seed))];
    const y = { field: "y", type: "quantitative", title: "loss", scale: { zero: false }, axis: { tickCount: 5 } };
    const color = { field: "seed", type: "nominal", title: null, scale: seedScale(theme, seeds) };
    const used = [...new Set(points.map((row) => row.outcome))].sort().reverse();
    return {
      spec: { data: { values: points }, layer: [
        ...suggestion(numbers, theme),
        { transform: [{ filter: "datum.outcome === 'ended'" }], mark: { type: "line", strokeWidth: 1.5, opacity: 0.7 }, encoding: { x: rateAxis, y, color } },
        { mark: { type: "point", filled: true, size: 55, opacity: 1 }, encoding: { x: rateAxis, y, color,
          shape: { field: "outcome", type: "nominal", title: null, legend: used.length > 1 ? {} : null, scale: { domain: used, range: used.map((one) => (one === "ended" ? "circle" : "cross")) } },
          tooltip: [{ field: "rate", title: "learning rate" }, { field: "shown", title: "loss" }, { field: "seed" }, { field: "outcome" }] } },
      ] },
      columns: ["seed", "learning rate", "loss"],
      rows: numbers.trials.map(([seed, rate, loss]) => [seed, digits(rate), loss == null ? "diverged" : digits(loss)]),
    };
  }

  function sweeps(numbers, theme) {
    const rows = numbers.sweeps.flatMap(([seed, rates, losses]) => rates.map((rate, at) => ({ seed: `seed ${seed}`, rate, loss: losses[at] })));
    /* A loss that explodes would leave nothing of the others to see. */
    const begin = numbers.sweeps.map(([, , losses]) => losses.find((loss) => loss != null)).filter((loss) => loss != null);
    const least = Math.min(...rows.filter((row) => row.loss != null).map((row) => row.loss));
    const top = begin.length ? Math.max(...begin) + 0.6 * Math.abs(Math.max(...begin) - least) : 1;
    /* The line's lowest point is the one that is looked for, so it stands clear of the axis. */
    const bottom = least - 0.05 * Math.abs(top - least);
    const seeds = [...new Set(rows.map((row) => row.seed))];
    return {
      spec: { data: { values: rows.filter((row) => row.loss != null) }, layer: [
        ...suggestion(numbers, theme),
        { mark: { type: "line", strokeWidth: 1.2, clip: true }, encoding: { x: rateAxis, y: { field: "loss", type: "quantitative", title: "loss", scale: { zero: false, domain: [bottom, top] }, axis: { tickCount: 5 } }, color: { field: "seed", type: "nominal", title: null, scale: seedScale(theme, seeds) } } },
      ] },
      columns: ["seed", "learning rate", "loss"],
      rows: numbers.sweeps.flatMap(([seed, rates, losses]) => rates.map((rate, at) => [seed, digits(rate), losses[at] == null ? "not finite" : digits(losses[at])])),
    };
  }

  function bars(rows, theme) {
    const both = rows.some(([, then]) => then != null) && rows.some(([, , now]) => now != null);
    const [unit, name] = unitOf(Math.max(...rows.flatMap(([, then, now]) => [then || 0, now || 0])));
    const seen = new Set();
    const labels = rows.map(([holder], at) => {
      const label = seen.has(short(holder)) ? `${at + 1}: ${short(holder)}` : short(holder);
      seen.add(label);
      return label;
    });
    const values = rows.flatMap(([holder, then, now], at) => [
      ...(both || now == null ? [{ holder, label: labels[at], at, when: "locked", y: (then || 0) / unit, shown: bytes(then) }] : []),
      ...(now != null ? [{ holder, label: labels[at], at, when: "now", y: now / unit, shown: bytes(now) }] : []),
    ]);
    return {
      spec: {
        data: { values }, height: rows.length * (both ? 26 : 20) + 8,
        mark: { type: "bar", cornerRadiusEnd: 1 },
        encoding: {
          y: { field: "label", type: "nominal", sort: { field: "at" }, title: null, axis: { labelLimit: 200, ticks: false, domain: false }, scale: { paddingInner: 0.35 } },
          ...(both ? { yOffset: { field: "when", sort: ["locked", "now"] } } : {}),
          x: { field: "y", type: "quantitative", title: name, axis: { tickCount: 4 } },
          color: { field: "when", type: "nominal", title: null, legend: both ? {} : null, scale: { domain: ["locked", "now"], range: [theme.faint, theme.series[0]] } },
          tooltip: [{ field: "holder" }, { field: "when" }, { field: "shown", title: "memory" }],
        },
      },
      columns: ["holder", "locked", "now", "change"],
      rows: rows.map(([holder, then, now]) => [holder, bytes(then), bytes(now), then != null && now != null ? (now === then ? "same" : `${now > then ? "+" : "-"}${bytes(Math.abs(now - then))}`) : "-"]),
    };
  }
  const holders = (numbers, theme) => bars(numbers.holders, theme);

  /* One value of the lock over its commits, which stand at equal distances. */
  function overCommits(numbers, theme, title, field, place) {
    const rows = numbers.history.map((change, at) => ({ at: at + 1, commit: change[0], date: change[1], subject: change[2], y: change[place] }));
    const x = { field: "at", type: "quantitative", title: "commits that changed the profile", axis: { values: rows.map((row) => row.at), labelExpr: "''", ticks: true }, scale: { nice: false, zero: false, padding: 14 } };
    const y = { field: "y", type: "quantitative", title, scale: field === "rate" ? { type: "log", nice: false, padding: 12 } : { type: "linear", zero: true }, axis: field === "rate" ? { format: "~e", tickCount: 4, labelOverlap: true } : batchAxis(rows.map((row) => row.y || 0)) };
    return {
      spec: { data: { values: rows.filter((row) => row.y != null) }, layer: [
        { mark: { type: "line", interpolate: "step-after", strokeWidth: 2, color: theme.series[0] }, encoding: { x, y } },
        { mark: { type: "point", filled: true, size: 55, opacity: 1, color: theme.series[0] }, encoding: { x, y, tooltip: [{ field: "commit" }, { field: "date" }, { field: "subject" }, { field: "y", title }] } },
      ] },
      columns: ["commit", "date", title, "subject"],
      rows: rows.map((row) => [row.commit, row.date || "-", row.y == null ? "none" : digits(row.y), row.subject]),
    };
  }
  const batches = (numbers, theme) => overCommits(numbers, theme, "largest batch", "batch", 3);
  const rates = (numbers, theme) => overCommits(numbers, theme, "learning rate", "rate", 4);

  /* Both steps run from 0 to 100% of their allocations and frees: they need not have as many. */
  function step(numbers, theme) {
    const [then, now] = numbers.step;
    const [unit, name] = unitOf(Math.max(...then, ...now));
    const line = (sizes, when) => sizes.map((size, at) => ({ x: (100 * at) / Math.max(1, sizes.length - 1), y: size / unit, shown: bytes(size), when }));
    const used = then.length ? ["locked", "now"] : ["now"];
    return {
      spec: {
        data: { values: [...line(then, "locked"), ...line(now, "now")] }, mark: { type: "line", strokeWidth: 1.8, interpolate: "step-after" },
        encoding: {
          x: { field: "x", type: "quantitative", title: "% of the step's allocations and frees", axis: { tickCount: 5 } },
          y: { field: "y", type: "quantitative", title: name, scale: { zero: true }, axis: { tickCount: 5 } },
          color: { field: "when", type: "nominal", title: null, scale: { domain: used, range: used.map((one) => (one === "now" ? theme.series[0] : theme.soft)) } },
          strokeDash: { field: "when", type: "nominal", title: null, scale: { domain: used, range: used.map((one) => (one === "now" ? [1, 0] : [5, 3])) } },
        },
      },
      columns: ["part of the step", ...used],
      rows: now.map((size, at) => [`${at + 1} of ${now.length}`, ...(then.length ? [bytes(then[Math.round((at * (then.length - 1)) / Math.max(1, now.length - 1))])] : []), bytes(size)]),
    };
  }

  return { step, batches, rates, memory, bracket, throughput, trials, sweeps, holders };
})();
