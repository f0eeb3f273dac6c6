/* Sharing a run: its link, its spec as a file, and files that are dropped on the page. */

import { make } from "../shared/elements.js";

const SPEC_KEYS = ["base_model", "dataset", "method", "optimization"];
const SHOWN_MS = 4000;

function say(text) {
	const status = document.querySelector(".rs-shared");
	if (!status) return;
	status.textContent = text;
	setTimeout(() => {
		if (status.textContent === text) status.textContent = "";
	}, SHOWN_MS);
}

/* Where a page may not write to the clipboard, the link is shown, to be copied by hand. */
export async function copyLink(copied, address) {
	if (!address) return [];
	const link = new URL(address, window.location.href).href;
	try {
		await navigator.clipboard.writeText(link);
		say(copied);
	} catch {
		say(link);
	}
	return [];
}

export function downloadSpec(text, name) {
	if (!text) return [];
	const anchor = make("a");
	anchor.href = URL.createObjectURL(new Blob([text], { type: "application/json" }));
	const named = String(name ?? "")
		.replace(/[^\p{L}\p{N}]+/gu, "-")
		.replace(/^-+|-+$/g, "");
	anchor.download = `${named || "spec"}.json`;
	anchor.click();
	setTimeout(() => URL.revokeObjectURL(anchor.href), 1000);
	return [];
}

/* A spec is a JSON object with a section of ours; any other file is a dataset. */
async function isSpec(file) {
	if (!file.name.toLowerCase().endsWith(".json") || file.size > 1_000_000) return false;
	try {
		const content = JSON.parse(await file.text());
		return !Array.isArray(content) && SPEC_KEYS.some((key) => key in content);
	} catch {
		return false;
	}
}

/* Hands a file to an upload button of Gradio's, as if it had been chosen there. */
function give(file, id) {
	const button = document.getElementById(id);
	const input = button?.parentElement.querySelector("input[type=file]");
	if (!input) return;
	const held = new DataTransfer();
	held.items.add(file);
	input.files = held.files;
	input.dispatchEvent(new Event("change", { bubbles: true }));
}

/* A file may be dropped anywhere on the page; meanwhile the page says what that does. */
export function dropping(_element, _props, _watch, _trigger, invitation) {
	const veil = make("div", "rs-drop", invitation);
	veil.hidden = true;
	document.querySelector(".gradio-container").append(veil);
	const holdsFile = (event) => event.dataTransfer?.types.includes("Files");
	addEventListener("dragenter", (event) => {
		if (holdsFile(event)) veil.hidden = false;
	});
	veil.addEventListener("dragleave", () => {
		veil.hidden = true;
	});
	addEventListener("dragover", (event) => {
		if (holdsFile(event)) event.preventDefault();
	});
	addEventListener("drop", async (event) => {
		veil.hidden = true;
		const file = event.dataTransfer?.files[0];
		if (!file) return;
		event.preventDefault();
		give(file, (await isSpec(file)) ? "open-spec" : "upload");
	});
}
