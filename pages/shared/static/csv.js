/* Tables as CSV files for the person to keep. */

import { make } from "./elements.js";

/* A spreadsheet runs a cell that starts with one of these; a quote in front stops that. */
function csvCell(value) {
	if (value === null) return "";
	if (typeof value === "number") return String(value);
	let text = String(value);
	if (/^[=+\-@\t\r]/.test(text)) text = `'${text}`;
	return /[",\n\r;']/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

export function csv(content) {
	const lines = [content.columns.map((column) => csvCell(column.label))];
	for (const row of content.rows) lines.push(row.raw.map(csvCell));
	return lines.map((cells) => `${cells.join(",")}\r\n`).join("");
}

export function download(text, name) {
	const anchor = make("a");
	anchor.href = URL.createObjectURL(new Blob([text], { type: "text/csv;charset=utf-8" }));
	anchor.download = name;
	anchor.click();
	setTimeout(() => URL.revokeObjectURL(anchor.href), 1000);
}
