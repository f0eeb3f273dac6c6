/* Tables as CSV files for the person to keep. */

import { make } from "./elements.js";

/* A spreadsheet runs a cell that looks like a formula; a quote in front stops that. The engine writes
   tables by the same rule, in `lora_engine/csv_text.py`. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: a formula may stand behind them
const FORMULA = /^(?:[\s\x00-\x1f\u200b\ufeff]*[=+\-@＝＋－＠]|[\t\r\n])/;

function csvCell(value) {
	if (value === null) return "";
	if (typeof value === "number") return String(value);
	let text = String(value);
	if (FORMULA.test(text)) text = `'${text}`;
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
