/* The list of runs: see pages/runs/run_list.py. Names are set as text, never as markup. */

import { make, parsed } from "../shared/elements.js";
import { tr } from "../shared/language.js";

const SETTLE_MS = 180; // an arrow key that is held down asks for the last run alone
const PATIENCE_MS = 10000;
const STEPS = { ArrowDown: 1, ArrowUp: -1, Home: -Infinity, End: Infinity };

export function runList(element, props, watch, trigger) {
	const list = new RunList(element.querySelector(".rs-runs"), props, () => trigger("input"));
	list.draw();
	sayAnyState();
	watch("value", () => list.draw());
	showView();
	history.replaceState({ ...history.state, rankscope: true }, "");
}

/* On a phone the list and the run take turns: an address that names a run shows the run. */
export function showView() {
	const isRun = new URL(window.location.href).searchParams.has("run");
	document.body.dataset.runsView = isRun ? "run" : "list";
}

/* Gradio's menu has no placeholder of its own: without a choice it would stand there empty. */
function sayAnyState() {
	const menu = document.querySelector("#states input");
	if (menu) menu.placeholder = tr("any");
	else requestAnimationFrame(sayAnyState);
}

class RunList {
	constructor(box, props, tell) {
		this.box = box;
		this.props = props;
		this.tell = tell;
		this.awaited = null; // a choice that no answer has confirmed: one on its way must not undo it
		this.ticked = null;
		this.isWalking = false;
		this.list = make("ul", "rs-run-list");
		this.list.addEventListener("keydown", (event) => this.walk(event));
		this.foot = make("p", "rs-run-foot");
	}

	draw() {
		this.content = parsed(this.props.value);
		if (!this.content) return;
		const { items, label, foot, empty, chosen } = this.content;
		if (this.awaited === chosen) this.awaited = null;
		this.ticked ??= new Set(this.content.ticked);
		const focused = this.box.contains(document.activeElement)
			? document.activeElement.dataset.key
			: "";
		this.list.setAttribute("aria-label", label);
		this.list.replaceChildren(...items.map((item) => this.item(item)));
		this.foot.textContent = items.length ? foot : empty;
		if (!this.list.isConnected) this.box.replaceChildren(this.list, this.foot);
		if (focused) this.list.querySelector(`[data-key="${CSS.escape(focused)}"]`)?.focus();
	}

	get chosen() {
		return this.awaited ?? this.content.chosen;
	}

	item(item) {
		const row = make("li", "rs-run-item");
		const isChosen = item.id === this.chosen;
		row.classList.toggle("rs-chosen", isChosen);
		row.append(this.tickBox(item, isChosen), this.link(item, isChosen));
		return row;
	}

	tickBox(item, isChosen) {
		const tick = make("input");
		tick.type = "checkbox";
		tick.checked = isChosen || this.ticked.has(item.id);
		tick.disabled = isChosen || (!tick.checked && this.ticked.size >= this.content.most);
		tick.dataset.key = `tick-${item.id}`;
		tick.setAttribute("aria-label", item.draw);
		tick.title = item.draw;
		tick.addEventListener("change", () => {
			this.ticked[tick.checked ? "add" : "delete"](item.id);
			this.ask();
		});
		return tick;
	}

	link(item, isChosen) {
		const link = make("a");
		link.href = item.address;
		link.dataset.key = `run-${item.id}`;
		link.title = item.id;
		if (isChosen) link.setAttribute("aria-current", "true");
		const first = make("span", "rs-run-name");
		first.append(make("b", "", item.name));
		first.append(make("span", `rs-state rs-state-${item.state}`, item.stateName));
		link.append(first, make("span", "rs-run-detail", item.detail));
		if (item.share !== null) link.append(bar(item.share));
		link.addEventListener("click", (event) => {
			if (event.ctrlKey || event.metaKey || event.shiftKey) return;
			event.preventDefault();
			this.isWalking = false;
			this.choose(item.id, true);
		});
		return link;
	}

	/* Arrows, Home and End walk through the runs, and show the one where they stop. */
	walk(event) {
		const by = STEPS[event.key];
		if (by === undefined || event.altKey || event.ctrlKey || event.metaKey) return;
		event.preventDefault();
		const links = [...this.list.querySelectorAll("a")];
		const now = links.findIndex((link) => link.closest("li").contains(document.activeElement));
		const next = Math.min(Math.max(now + by, 0), links.length - 1);
		links[next].focus();
		const id = links[next].dataset.key.slice("run-".length);
		clearTimeout(this.settling);
		this.settling = setTimeout(() => {
			this.choose(id, !this.isWalking);
			this.isWalking = true;
		}, SETTLE_MS);
	}

	/* isNewStep: Back returns to the run before. A walk with the arrows is one step. */
	choose(id, isNewStep) {
		if (id !== this.chosen || document.body.dataset.runsView === "list") rememberRun(id, isNewStep);
		this.awaited = id;
		setTimeout(() => {
			if (this.awaited === id) this.awaited = null;
		}, PATIENCE_MS);
		this.ask();
	}

	ask() {
		this.content.chosen = this.chosen;
		this.content.ticked = [...this.ticked];
		this.props.value = JSON.stringify(this.content);
		this.tell();
	}
}

function rememberRun(id, isNewStep) {
	const url = new URL(window.location.href);
	url.searchParams.set("run", id);
	const state = { ...history.state, rankscope: true };
	if (isNewStep) history.pushState(state, "", url);
	else history.replaceState(state, "", url);
	showView();
}

function bar(share) {
	const track = make("span", "rs-run-bar");
	const fill = make("span");
	fill.style.width = `${(100 * share).toFixed(1)}%`;
	track.append(fill);
	return track;
}
