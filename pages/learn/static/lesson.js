/* The frame of the lesson: one step is shown at a time, the one that the address names.

   Links to a step move without a new page; so do the arrow keys, and back and forward. Where one
   was, and which steps one has seen, is remembered in this browser. A step's pictures are fetched
   and drawn when it is first shown. Knows no picture. */

const KEPT = "rankscope-lesson";

/* By number: the column of a step, its heading, and what is still to be drawn in it. */
const steps = new Map();
let links = [];
let count = 0;
let current = 0;

function kept() {
	try {
		return JSON.parse(localStorage.getItem(KEPT)) ?? {};
	} catch {
		return {};
	}
}

function keep(number) {
	const seen = [...new Set([...(kept().seen ?? []), number])];
	try {
		localStorage.setItem(KEPT, JSON.stringify({ last: number, seen }));
	} catch {
		/* A browser that keeps nothing begins at the first step again. */
	}
}

const inAddress = () => Number(new URL(window.location.href).searchParams.get("step"));

const isStep = (number) => Number.isInteger(number) && number >= 1 && number <= count;

function opening() {
	const asked = inAddress();
	if (isStep(asked)) return asked;
	const last = kept().last;
	return isStep(last) ? last : 1;
}

/* Show what is there of the current step; parts of a page may come one after another. */
function refresh() {
	const seen = kept().seen ?? [];
	for (const [number, step] of steps) {
		const isShown = number === current;
		step.column.classList.toggle("rs-step-shown", isShown);
		if (isShown) for (const draw of step.undrawn.splice(0)) draw();
	}
	for (const link of links) {
		const number = Number(link.dataset.step);
		link.classList.toggle("rs-seen", seen.includes(number));
		if (number === current) link.setAttribute("aria-current", "step");
		else link.removeAttribute("aria-current");
	}
}

function show(number) {
	current = number;
	keep(number);
	refresh();
}

function focusHeading() {
	const heading = steps.get(current)?.heading;
	if (!heading) return;
	heading.focus({ preventScroll: true });
	const { top } = heading.getBoundingClientRect();
	if (top < 70 || top > innerHeight / 3) heading.scrollIntoView({ block: "start" });
}

function go(number) {
	if (!isStep(number) || number === current) return;
	const url = new URL(window.location.href);
	url.searchParams.set("step", number);
	history.pushState(history.state, "", url);
	show(number);
	focusHeading();
}

/* A click that asks for a new window stays the browser's. */
function followHere(event) {
	const link = event.target.closest("a[data-step]");
	if (!link || event.button || event.ctrlKey || event.metaKey || event.shiftKey) return;
	event.preventDefault();
	go(Number(link.dataset.step));
}

/* What uses the arrow keys itself keeps them. */
const TAKES_ARROWS =
	'input, textarea, select, [contenteditable="true"], [role="slider"], [role="tablist"], [role="radiogroup"], [data-arrows]';

function moveByKey(event) {
	const direction = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
	if (!direction || event.altKey || event.ctrlKey || event.metaKey || event.shiftKey) return;
	if (event.target.closest?.(TAKES_ARROWS)) return;
	event.preventDefault();
	go(current + direction);
}

export function list(element) {
	links = [...element.querySelectorAll("a[data-step]")];
	count = links.length;
	element.addEventListener("click", followHere);
	addEventListener("keydown", moveByKey);
	addEventListener("popstate", () => {
		show(opening());
		focusHeading();
	});
	show(opening());
}

export function head(element, _props, _watch, _trigger, number, stepCount) {
	const column = element.closest(".rs-step");
	count = stepCount;
	const undrawn = steps.get(number)?.undrawn ?? [];
	steps.set(number, { column, heading: element.querySelector("h2"), undrawn });
	column.dataset.number = number;
	if (!current) show(opening());
	else refresh();
}

export function foot(element) {
	element.addEventListener("click", followHere);
}

/* Draw a picture when its step is shown, by a function of a module. */
export function picture(element, props, watch, trigger, module, name) {
	const box = element.querySelector(".rs-picture");
	const draw = async () => (await import(module))[name](box, props, watch, trigger);
	whenShown(element.closest(".rs-step"), draw);
}

function whenShown(column, draw) {
	const number = Number(column.dataset.number);
	if (!number) requestAnimationFrame(() => whenShown(column, draw));
	else if (number === current) draw();
	else steps.get(number).undrawn.push(draw);
}
