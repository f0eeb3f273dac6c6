/* What Gradio's client itself says in a toast, in our words and the page's language: it knows that
   something failed, and neither what nor what to do. Toasts of ours stay as they are. */

import { tr } from "./language.js";

const NO_ANSWER = tr(
	"The server does not answer. It may have been stopped or started again: reload the page.",
);
const BROKEN = tr("Something went wrong on the way to the server. Reload the page.");
const BUSY = tr("The server is busy. Try again in a moment.");
const WHOLE = {
	"": BROKEN,
	Error: BROKEN,
	"Connection errored out.": NO_ANSWER,
	"Could not parse server response": NO_ANSWER,
	"Failed to fetch": NO_ANSWER,
	"Load failed": NO_ANSWER,
	"Method not implemented.": BROKEN,
	"NetworkError when attempting to fetch resource.": NO_ANSWER,
	"This application is currently busy. Please try again.": BUSY,
};
const WITH_A_PART = [
	[
		/^Invalid file types?: (.*)\. Only (.*) allowed\.?$/s,
		(name, kinds) => tr("{name} is not read here. Give a file of {kinds}.", { name, kinds }),
	],
	[/^Connection (errored out|to the server was lost)\b/s, () => NO_ANSWER],
	[/\[object \w+\]|<\w+ object\b/s, () => BROKEN],
];
const TITLES = { Error: tr("Not done"), Warning: tr("Please note") };

function ours(said) {
	const text = said.trim();
	if (Object.hasOwn(WHOLE, text)) return WHOLE[text];
	for (const [form, words] of WITH_A_PART) {
		const found = form.exec(text);
		if (found) return words(...found.slice(1));
	}
	return said;
}

function say(part, words) {
	if (part && words && words !== part.textContent) part.textContent = words;
}

function reword(toast) {
	const title = toast.querySelector(".toast-title");
	say(title, title && TITLES[title.textContent.trim()]);
	for (const text of toast.querySelectorAll(".toast-text, .toast-message-text")) {
		say(text, ours(text.textContent));
	}
}

function within(node) {
	if (node.nodeType !== Node.ELEMENT_NODE) return;
	const around = node.closest(".toast-body");
	if (around) reword(around);
	else node.querySelectorAll(".toast-body").forEach(reword);
}

new MutationObserver((changes) => {
	for (const change of changes) change.addedNodes.forEach(within);
}).observe(document.documentElement, { childList: true, subtree: true });
