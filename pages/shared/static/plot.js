/* The plot of pages/shared/live.py: it keeps its zoom while it is fed, and follows light and dark. */

import { paced } from "./drawing_pace.js";
import { parsed } from "./elements.js";

const PLOTLY = new URL("../plotly.min.js", import.meta.url);
let plotly;

/* Plotly is a classic script of several MB; the page's first plot loads it. */
function loadPlotly() {
	plotly ??= new Promise((resolve, reject) => {
		const script = document.createElement("script");
		script.src = PLOTLY;
		script.onload = () => resolve(window.Plotly);
		script.onerror = () => reject(new Error(`${PLOTLY} did not load`));
		document.head.append(script);
	});
	return plotly;
}

const NEAR = { rootMargin: "400px" };
const UNSEEN_MS = 4000;

/* Plotly takes a second to load, in which a page answers nobody: it waits until a plot comes near
   the window, or, unless the plot is drawn only in sight, until the page has long been drawn. */
const whenNeeded = (box, onlyInSight) =>
	new Promise((resolve) => {
		const near = new IntersectionObserver((entries) => {
			if (!entries.at(-1).isIntersecting) return;
			near.disconnect();
			resolve();
		}, NEAR);
		near.observe(box);
		if (!onlyInSight) setTimeout(resolve, UNSEEN_MS);
	});

/* Draw now, and again whenever the value or the page's light or dark mode changes. */
function follow(element, watch, draw, drawValue) {
	draw();
	watch("value", drawValue);
	const mode = new MutationObserver(() => {
		if (element.isConnected) draw();
		else mode.disconnect();
	});
	mode.observe(document.body, { attributes: true, attributeFilter: ["class"] });
}

/* Every string var(--name) in a figure becomes that token's colour in the present mode. */
function coloured(node, styles) {
	if (typeof node === "string") {
		const token = /^var\((--[\w-]+)\)$/.exec(node);
		return token ? styles.getPropertyValue(token[1]).trim() || node : node;
	}
	if (Array.isArray(node)) {
		const isData = typeof node[0] === "number" && typeof node[1] !== "string";
		return isData ? node : node.map((item) => coloured(item, styles));
	}
	if (node && typeof node === "object") {
		return Object.fromEntries(
			Object.entries(node).map(([key, value]) => [key, coloured(value, styles)]),
		);
	}
	return node;
}

const PLOT_CONFIG = {
	displaylogo: false,
	responsive: true,
	modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d"],
	toImageButtonOptions: { format: "svg", filename: "rankscope" },
};

/* What draws a new value once it is seen. Its plot takes its room at once: what has none never comes
   into sight. */
function drawnInSight(element, box, props, draw) {
	const drawAnew = paced(element, draw);
	return () => {
		box.hidden = !props.value;
		if (box.data) drawAnew();
		else draw();
	};
}

export function plot(element, props, watch, _trigger, onlyInSight) {
	const box = element.querySelector(".rs-plot");
	let drawing;
	let due;
	const redraw = (Plotly) => {
		if (!due) return undefined;
		const styles = getComputedStyle(document.body);
		const { data, layout } = coloured(due, styles);
		due = undefined;
		return Plotly.react(box, data, { autosize: true, ...layout }, PLOT_CONFIG);
	};
	const draw = () => {
		const figure = parsed(props.value);
		box.hidden = !figure;
		if (!figure) return undefined;
		due = figure;
		const said = figure.layout.meta?.description;
		box.setAttribute("aria-label", box.dataset.label + (said ? `. ${said}` : ""));
		drawing = (drawing ?? whenNeeded(box, onlyInSight))
			.then(loadPlotly)
			.then(redraw)
			.catch((error) => console.error("The plot could not be drawn:", error));
		return drawing;
	};
	follow(element, watch, draw, onlyInSight ? drawnInSight(element, box, props, draw) : draw);
	new ResizeObserver(() => {
		if (box.data && box.clientWidth > 0) window.Plotly.Plots.resize(box);
	}).observe(box);
}
