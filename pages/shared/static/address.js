/* The state of a page in its address, so that reload, share and back work. */

import { tr } from "./language.js";

const isNothing = (value) => value === null || value === undefined || String(value) === "";

let last = { name: "", at: 0 };
const GOING_ON_MS = 1500;

const differing = (one, other) =>
	[...new Set([...one.keys(), ...other.keys()])].filter(
		(name) => one.get(name) !== other.get(name),
	);

const isNumber = (text) => text !== "" && Number.isFinite(Number(text));

/* Whether a value goes on from the one before, as in a drag or in typing. */
const continues = (before, now) =>
	(isNumber(before) && isNumber(now)) || now.startsWith(before) || before.startsWith(now);

/* The page's new address. A choice of the person's is a step, which Back undoes. Going on with the
   same choice, as a drag does, makes no new one, nor does what a page says by itself before anyone
   has touched it. isChoice: it is known to be the person's. */
export function visit(url, isChoice = navigator.userActivation?.hasBeenActive ?? true) {
	const before = new URL(window.location.href).searchParams;
	const [name, ...others] = differing(before, url.searchParams);
	if (name === undefined) return;
	const now = performance.now();
	const goesOn =
		name === last.name &&
		now - last.at < GOING_ON_MS &&
		continues(before.get(name) ?? "", url.searchParams.get(name) ?? "");
	last = { name: others.length ? "" : name, at: now };
	const marked = { ...history.state, rankscope: true };
	if (goesOn || !isChoice) {
		history.replaceState(marked, "", url);
		return;
	}
	history.replaceState(marked, "");
	history.pushState(marked, "", url);
}

/* Write values into the address; an empty one removes its name. */
export function remember(names, ...values) {
	const url = new URL(window.location.href);
	names.forEach((name, index) => {
		const value = values[index];
		if (isNothing(value)) url.searchParams.delete(name);
		else url.searchParams.set(name, value);
	});
	visit(url);
	return [];
}

let chosen = false;

/* Gradio selects the first tab while it draws the page; only a person's choice is remembered. */
export function rememberTab(tab, first) {
	if (tab !== first) chosen = true;
	if (!chosen) return [];
	const url = new URL(window.location.href);
	url.searchParams.set("tab", tab);
	visit(url);
	return [];
}

/* Another address of this page, in place of the one it has. */
export function replace(address) {
	if (address) visit(new URL(address, window.location.href));
	return [];
}

/* The fields of a page in its address, each with its name, its kind, the value it opens with and
   its choices if only those are allowed. One that says what it opens with is left out. */

const readers = {
	number: (text) => (text === "" ? null : Number(text.replace(",", "."))),
	truth: (text) => ({ true: true, false: false })[text] ?? Number.NaN,
	text: (text) => text.slice(0, 500),
};

const written = (value) => (value === null || value === undefined ? "" : String(value));

function readField(field, text) {
	const value = readers[field.kind](text);
	if (Number.isNaN(value)) return undefined;
	if (!field.choices) return value;
	return field.choices.find((choice) => written(choice) === text);
}

/* One that says what it opens with is left out. */
export function rememberFields(fields, ...values) {
	const url = new URL(window.location.href);
	fields.forEach((field, index) => {
		const now = written(values[index]);
		if (now === written(field.opening)) url.searchParams.delete(field.name);
		else url.searchParams.set(field.name, now);
	});
	visit(url, true);
	return [];
}

/* Gradio draws a number without a value as 0 until it is told again that there is none. */
const isEmptyNumber = ({ kind, opening }) => kind === "number" && opening === null;

/* What the address says for each field, and for a problem box what it says wrongly. */
export function recallFields(fields) {
	const state = new URL(window.location.href).searchParams;
	const wrong = [];
	const values = fields.map((field) => {
		const text = state.get(field.name);
		if (text === null) return isEmptyNumber(field) ? null : { __type__: "update" };
		const value = readField(field, text);
		if (value !== undefined) return value;
		const opening = written(field.opening) || tr("nothing");
		const said = `${field.name}=${text.slice(0, 60)}`;
		const message = tr("the address says {said}; {opening} stands here", { said, opening });
		wrong.push({ id: field.id, path: field.name, message });
		return { __type__: "update" };
	});
	if (!wrong.length) return [...values, ""];
	const remedy = tr("Correct the address, or choose here.");
	return [...values, JSON.stringify({ problem: "", remedy, fields: wrong })];
}

/* Back and forward: the page opens again at what its address then says. */
addEventListener("popstate", () => {
	if (history.state?.rankscope) window.location.reload();
});

/* Open another page of this server; an empty address stays here. */
export function go(address) {
	if (address) window.location.assign(address);
	return [];
}
