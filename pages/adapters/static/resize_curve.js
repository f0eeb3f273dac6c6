/* The chosen size on the curve of sizes, and in numbers, without asking the server. */

import { tile } from "../shared/elements.js";

/* kind: rank, energy or threshold; values: what each of their fields says. The points are those
   that pages/adapters/resize_figure.py put into the figure. */
export async function showSize(plotId, tilesId, kind, rank, energy, threshold) {
	const plot = await drawn(plotId);
	const points = plot?.layout.meta.points?.[kind];
	const holder = document.querySelector(`#${tilesId} .rs-tiles`);
	if (!points?.length || !holder) return [];
	const wanted = { rank, energy, threshold }[kind];
	const point = nearest(points, Number(wanted), kind === "threshold");
	window.Plotly.restyle(plot, { x: [[point.bytes]], y: [[point.energy]] }, [plot.data.length - 1]);
	const old = holder.querySelectorAll(".rs-tile");
	for (const one of old) one.remove();
	holder.append(...point.tiles.map(tile));
	return [];
}

/* The plot once it has its figure: Plotly itself may still be loading. Null where none comes. */
async function drawn(plotId) {
	for (let tries = 0; tries < 100; tries++) {
		const plot = document.querySelector(`#${plotId} .rs-plot`);
		if (!plot || plot.hidden) return null;
		if (plot.layout?.meta) return plot;
		await new Promise((resolve) => setTimeout(resolve, 100));
	}
	return null;
}

function nearest(points, wanted, isLogarithmic) {
	const place = (value) => (isLogarithmic ? Math.log(Math.max(value, 1e-30)) : value);
	const distance = (point) => Math.abs(place(point.choice) - place(wanted));
	return points.reduce((best, point) => (distance(point) < distance(best) ? point : best));
}
