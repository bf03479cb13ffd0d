"use strict";
const { axes, charts } = JSON.parse(document.getElementById("charts").textContent);
for (const trace of charts.flatMap((chart) => chart.data)) trace.x = axes[trace.x];
const narrow = () => window.innerWidth <= 640;
const token = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

function dressed(chart) {
  const axis = { gridcolor: token("--grid"), zerolinecolor: token("--rule"), linecolor: token("--rule"), automargin: true };
  const own = chart.layout;
  return {
    ...own,
    height: chart.height,
    margin: { l: 52, r: 12, t: 12, b: 36 },
    paper_bgcolor: "rgba(0,0,0,0)",
    plot_bgcolor: "rgba(0,0,0,0)",
    font: { color: token("--ink"), family: "system-ui, -apple-system, 'Segoe UI', Roboto, Arial, sans-serif", size: 13 },
    hoverlabel: { bgcolor: token("--sheet"), bordercolor: token("--rule"), font: { color: token("--ink") } },
    legend: { orientation: "h", x: 0, y: 1.02, yanchor: "bottom", font: { size: narrow() ? 11 : 12 }, traceorder: "normal" },
    xaxis: { ...axis, ...own.xaxis, showgrid: chart.name === "cuts" },
    yaxis: { ...axis, ...own.yaxis },
  };
}

function draw(chart) {
  const settings = { responsive: true, displaylogo: false, displayModeBar: false };
  return Plotly.react("plot-" + chart.name, chart.data, dressed(chart), settings);
}

function start() {
  charts.forEach(draw);
  window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => charts.forEach(draw));
  document.getElementById("log-scale").addEventListener("change", (event) => {
    const growth = charts.find((chart) => chart.name === "equity");
    growth.layout.yaxis.type = event.target.checked ? "log" : "linear";
    draw(growth);
  });
}

async function unpacked(id) {
  const bytes = Uint8Array.from(atob(document.getElementById(id).textContent), (c) => c.charCodeAt(0));
  return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).text();
}

unpacked("plotly").then((source) => {
  (0, eval)(source); // in the page's scope, as a script of its own would be
  start();
}).catch((error) => {
  for (const place of document.querySelectorAll(".plot")) place.textContent = "The plots need a browser of 2023 or later: " + error;
});
