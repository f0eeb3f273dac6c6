/* When a plot that is fed by itself is drawn anew. The page shares the processor with the training
   that it shows: the newest value alone is drawn, where somebody sees it, one plot after the other,
   with rests in between that are the longer the longer the drawing took. */

const REST = 20;
const LONGEST_REST_MS = 8000;

const waiting = new Set();
let isDrawing = false;
let restsUntil = 0;
let alarm;

/* `draw` of an element, for whenever there is a new value; it returns a promise. */
export function paced(element, draw) {
	const plot = { draw, isSeen: false };
	new IntersectionObserver((entries) => {
		plot.isSeen = entries.at(-1).isIntersecting;
		if (!element.isConnected) waiting.delete(plot);
		drawNext();
	}).observe(element);
	return () => {
		waiting.add(plot);
		drawNext();
	};
}

document.addEventListener("visibilitychange", drawNext);

async function drawNext() {
	if (isDrawing || document.hidden) return;
	const due = [...waiting].find((plot) => plot.isSeen);
	if (!due) return;
	const began = performance.now();
	if (began < restsUntil && !isAwaited()) {
		clearTimeout(alarm);
		alarm = setTimeout(drawNext, restsUntil - began);
		return;
	}
	waiting.delete(due);
	isDrawing = true;
	await due.draw();
	isDrawing = false;
	const took = performance.now() - began;
	restsUntil = began + took + Math.min(REST * took, LONGEST_REST_MS);
	drawNext();
}

/* The person has just done something, and waits for what it changes. */
const isAwaited = () => navigator.userActivation?.isActive ?? true;
