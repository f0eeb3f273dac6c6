/* What Gradio tells a screen reader in English alone, in the page's language. Loaded where that is
   another one. Names of Gradio's own are matched whole, so nothing that a person wrote changes. */

import { tr } from "./language.js";

const WHOLE = {
	"Click to upload or drop files": tr("Click to upload or drop files"),
	"Copied message": tr("Copied message"),
	"Copy message": tr("Copy message"),
	"Fold line": tr("Fold line"),
	"More tabs": tr("More tabs"),
	"Remove this file": tr("Remove this file"),
	"Reset to default value": tr("Reset to default value"),
	"Unfold line": tr("Unfold line"),
	"chatbot conversation": tr("chatbot conversation"),
};
const WITH_A_PART = [
	[/^number input for (.*)$/s, (label) => tr("{label}: number", { label })],
	[/^range slider for (.*)$/s, (label) => tr("{label}: slider", { label })],
	[/^bot's message: (.*)$/s, (text) => tr("Answer: {text}", { text })],
	[/^user's message: (.*)$/s, (text) => tr("Question: {text}", { text })],
];
const NAMES = ["aria-label", "title"];
const NAMED = NAMES.map((name) => `[${name}]`).join(",");

function inPageLanguage(name) {
	if (Object.hasOwn(WHOLE, name)) return WHOLE[name];
	for (const [form, said] of WITH_A_PART) {
		const found = form.exec(name);
		if (found) return said(found[1]);
	}
	return name;
}

function rename(element) {
	for (const name of NAMES) {
		const before = element.getAttribute(name);
		const after = before && inPageLanguage(before);
		if (after && after !== before) element.setAttribute(name, after);
	}
}

function renameWithin(node) {
	if (node.nodeType !== Node.ELEMENT_NODE) return;
	rename(node);
	node.querySelectorAll(NAMED).forEach(rename);
}

const changed = { childList: true, subtree: true, attributeFilter: NAMES };
new MutationObserver((changes) => {
	for (const change of changes) {
		if (change.type === "attributes") rename(change.target);
		else change.addedNodes.forEach(renameWithin);
	}
}).observe(document.documentElement, changed);
renameWithin(document.documentElement);
