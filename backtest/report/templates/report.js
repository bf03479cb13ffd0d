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

charts.forEach(draw);
window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => charts.forEach(draw));
document.getElementById("log-scale").addEventListener("change", (event) => {
  const growth = charts.find((chart) => chart.name === "equity");
  growth.layout.yaxis.type = event.target.checked ? "log" : "linear";
  draw(growth);
});
