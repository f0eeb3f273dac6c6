/* Draws the values of pages/shared/live.py and pages/shared/wiring.py: plots, tables, problem boxes.
   Values are JSON; text is set as text, never as markup. */
window.rankscope = (() => {
	"use strict";

	const parsed = (value) => (value ? JSON.parse(value) : null);

	function make(tag, className, text) {
		const node = document.createElement(tag);
		if (className) node.className = className;
		if (text !== undefined) node.textContent = text;
		return node;
	}

	/* Draw now, and again whenever the value or the page's light or dark mode changes. */
	function follow(element, watch, draw) {
		draw();
		watch("value", draw);
		const mode = new MutationObserver(() => {
			if (element.isConnected) draw();
			else mode.disconnect();
		});
		mode.observe(document.body, { attributes: true, attributeFilter: ["class"] });
	}

	/* ---- plots ------------------------------------------------------------------------- */

	/* Every string var(--name) in a figure becomes that token's colour in the present mode. */
	function coloured(node, styles) {
		if (typeof node === "string") {
			const token = /^var\((--[\w-]+)\)$/.exec(node);
			return token ? styles.getPropertyValue(token[1]).trim() || node : node;
		}
		if (Array.isArray(node)) {
			return typeof node[0] === "number" ? node : node.map((item) => coloured(item, styles));
		}
		if (node && typeof node === "object") {
			return Object.fromEntries(
				Object.entries(node).map(([key, value]) => [key, coloured(value, styles)])
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

	function plot(element, props, watch) {
		const box = element.querySelector(".rs-plot");
		let drawing = Promise.resolve();
		const draw = () => {
			const figure = parsed(props.value);
			box.hidden = !figure;
			if (!figure) return;
			const styles = getComputedStyle(document.body);
			const { data, layout } = coloured(figure, styles);
			const said = layout.meta && layout.meta.description;
			box.setAttribute("aria-label", box.dataset.label + (said ? ". " + said : ""));
			drawing = drawing
				.then(() => Plotly.react(box, data, { autosize: true, ...layout }, PLOT_CONFIG))
				.catch((error) => console.error("The plot could not be drawn:", error));
		};
		follow(element, watch, draw);
		new ResizeObserver(() => {
			if (box.data && box.clientWidth > 0) Plotly.Plots.resize(box);
		}).observe(box);
	}

	/* ---- tables ------------------------------------------------------------------------ */

	function compare(a, b, numeric) {
		const missing = (value) => value === null || value === "";
		if (missing(a) || missing(b)) return missing(a) - missing(b);
		if (numeric) return Number(a) - Number(b);
		return String(a).localeCompare(String(b), undefined, { numeric: true });
	}

	/* A spreadsheet runs a cell that starts with one of these; a quote in front stops that. */
	function csvCell(value) {
		if (value === null) return "";
		if (typeof value === "number") return String(value);
		let text = String(value);
		if (/^[=+\-@\t\r]/.test(text)) text = "'" + text;
		return /[",\n\r;']/.test(text) ? '"' + text.replaceAll('"', '""') + '"' : text;
	}

	function csv(content) {
		const lines = [content.columns.map((column) => csvCell(column.label))];
		content.rows.forEach((row) => lines.push(row.raw.map(csvCell)));
		return lines.map((cells) => cells.join(",") + "\r\n").join("");
	}

	function download(text, name) {
		const anchor = make("a");
		anchor.href = URL.createObjectURL(new Blob([text], { type: "text/csv;charset=utf-8" }));
		anchor.download = name;
		anchor.click();
		setTimeout(() => URL.revokeObjectURL(anchor.href), 1000);
	}

	/* `changed` is called when the person ticked a row; the value then holds what is ticked. */
	function table(element, props, watch, changed) {
		const box = element.querySelector(".rs-table");
		let sorted = { column: -1, down: false };
		let ticked; // the person's choice: a value on its way must not undo it

		const draw = () => {
			const content = parsed(props.value);
			const focused = box.contains(document.activeElement)
				? document.activeElement.dataset.key
				: undefined;
			box.replaceChildren();
			if (!content) return;
			if (content.ticks) ticked ??= new Set(content.ticks.ticked);
			if (!content.rows.length) {
				box.append(make("p", "rs-none", content.empty));
				return;
			}
			box.append(scroller(content), footer(content));
			if (focused) box.querySelector(`[data-key="${CSS.escape(focused)}"]`)?.focus();
		};

		const scroller = (content) => {
			const frame = make("div", "rs-scroll");
			frame.tabIndex = 0;
			frame.setAttribute("role", "region");
			frame.setAttribute("aria-label", box.dataset.label);
			const grid = make("table");
			grid.append(make("caption", "rs-unseen", box.dataset.label), head(content), body(content));
			frame.append(grid);
			return frame;
		};

		const head = (content) => {
			const row = make("tr");
			if (content.ticks) {
				const cell = make("th");
				cell.scope = "col";
				cell.append(make("span", "rs-unseen", content.ticks.label));
				row.append(cell);
			}
			content.columns.forEach((column, index) => {
				const cell = make("th", column.numeric ? "rs-number" : "");
				cell.scope = "col";
				const here = sorted.column === index;
				cell.setAttribute(
					"aria-sort",
					here ? (sorted.down ? "descending" : "ascending") : "none"
				);
				const button = make("button", "rs-sort", column.label);
				button.type = "button";
				button.dataset.key = "sort-" + index;
				button.append(make("span", "rs-arrow", here ? (sorted.down ? "↓" : "↑") : ""));
				button.addEventListener("click", () => {
					sorted = { column: index, down: here ? !sorted.down : column.numeric };
					draw();
				});
				cell.append(button);
				row.append(cell);
			});
			const section = make("thead");
			section.append(row);
			return section;
		};

		const body = (content) => {
			const order = content.rows.map((_, index) => index);
			if (sorted.column >= 0 && sorted.column < content.columns.length) {
				const column = sorted.column;
				const numeric = content.columns[column].numeric;
				order.sort((a, b) => {
					const found = compare(
						content.rows[a].raw[column],
						content.rows[b].raw[column],
						numeric
					);
					return sorted.down ? -found : found;
				});
			}
			const section = make("tbody");
			order.forEach((index) => section.append(line(content, index)));
			return section;
		};

		const line = (content, index) => {
			const row = make("tr");
			if (content.ticks) row.append(tickBox(content, index));
			content.rows[index].shown.forEach((text, column) => {
				const cell = make("td", content.columns[column].numeric ? "rs-number" : "");
				const address = column === 0 ? content.links[index] : null;
				if (address && address.startsWith("/") && !address.startsWith("//")) {
					const anchor = make("a", "", text);
					anchor.href = address;
					anchor.dataset.key = "link-" + address;
					cell.append(anchor);
				} else {
					cell.textContent = text;
				}
				row.append(cell);
			});
			return row;
		};

		const tickBox = (content, index) => {
			const { keys, fixed, most, label } = content.ticks;
			const key = keys[index];
			const tick = make("input");
			tick.type = "checkbox";
			tick.checked = key === fixed || ticked.has(key);
			tick.disabled = key === fixed || (!tick.checked && ticked.size >= most);
			tick.dataset.key = "tick-" + key;
			tick.setAttribute("aria-label", label + " " + content.rows[index].shown[0]);
			tick.addEventListener("change", () => {
				if (tick.checked) ticked.add(key);
				else ticked.delete(key);
				content.ticks.ticked = [...ticked];
				props.value = JSON.stringify(content);
				changed();
			});
			const cell = make("td", "rs-tick");
			cell.append(tick);
			return cell;
		};

		const footer = (content) => {
			const bar = make("div", "rs-table-foot");
			const rows = content.rows.length;
			bar.append(make("span", "", rows.toLocaleString("en") + (rows === 1 ? " row" : " rows")));
			const button = make("button", "rs-button rs-small", "Download CSV");
			button.type = "button";
			button.dataset.key = "download";
			button.addEventListener("click", () => download(csv(content), box.dataset.file));
			bar.append(button);
			return bar;
		};

		draw();
		watch("value", draw);
	}

	/* ---- a matrix and its factors at every rank ------------------------------------------ */

	/* The frames of all ranks come at once, so that moving the rank needs no answer from the
	   server: `showRank` picks one. All numbers and texts are the server's. */
	const rankPictures = new Map();

	function showRank(id, rank) {
		rankPictures.get(id)?.(Number(rank));
		return [];
	}

	function block(name, size, width, height) {
		const figure = make("figure", "rs-block rs-block-" + name.toLowerCase());
		const area = make("div");
		area.style.width = `max(2px, calc(var(--side) * ${width}))`;
		area.style.height = `max(2px, calc(var(--side) * ${height}))`;
		const caption = make("figcaption");
		caption.append(make("b", "", name), make("span", "", size));
		figure.append(area, caption);
		return figure;
	}

	/* A bar of how many numbers something takes, beside the most that any takes. */
	function sizeBar(name, accent) {
		const row = make("div", "rs-bar" + (accent ? " rs-bar-accent" : ""));
		const track = make("div", "rs-track");
		track.setAttribute("role", "meter");
		track.setAttribute("aria-label", name);
		track.setAttribute("aria-valuemin", 0);
		const fill = make("div");
		const words = make("b");
		track.append(fill);
		row.append(make("span", "", name), track, words);
		const show = (value, most, text) => {
			fill.style.width = `max(2px, ${(100 * value) / most}%)`;
			words.textContent = text;
			track.setAttribute("aria-valuenow", value);
			track.setAttribute("aria-valuemax", most);
			track.setAttribute("aria-valuetext", text);
		};
		return { row, show };
	}

	function tile([label, value, note]) {
		const box = make("div", "rs-tile");
		box.append(make("dt", "", label), make("dd", "", value), make("dd", "rs-small-note", note));
		return box;
	}

	function rankPicture(element, props, watch) {
		const box = element.querySelector(".rs-rank");
		let rank = null;
		const draw = () => {
			const content = parsed(props.value);
			if (!content) return;
			rank = rank ?? content.rank;
			const frame = content.frames[Math.min(Math.max(rank, 1), content.frames.length) - 1];
			const side = Math.max(content.d, content.k);
			const tiles = make("dl", "rs-tiles");
			tiles.append(...frame.tiles.map(tile));
			const blocks = make("div", "rs-blocks");
			blocks.setAttribute("role", "img");
			blocks.setAttribute("aria-label", frame.words);
			const [w, b, a] = frame.sizes;
			blocks.append(
				block("W", w, content.k / side, content.d / side),
				block("B", b, frame.rank / side, content.d / side),
				block("A", a, content.k / side, frame.rank / side)
			);
			const most = Math.max(frame.full, frame.low_rank);
			const whole = sizeBar("whole matrix", false);
			const lowRank = sizeBar("low rank", true);
			whole.show(frame.full, most, frame.tiles[0][1]);
			lowRank.show(frame.low_rank, most, frame.tiles[1][1]);
			box.replaceChildren(tiles, blocks, whole.row, lowRank.row);
			frame.warnings.forEach((text) => box.append(make("p", "rs-note", text)));
		};
		rankPictures.set(box.dataset.id, (chosen) => {
			rank = chosen;
			draw();
		});
		draw();
		watch("value", () => {
			rank = parsed(props.value)?.rank ?? rank;
			draw();
		});
	}

	/* Tiles alone, of a whole model. Their ranks come at once, as above. */
	function rankTiles(element, props, watch) {
		const box = element.querySelector(".rs-rank-tiles");
		const draw = (rank) => {
			const { frames } = parsed(props.value) ?? { frames: [] };
			const tiles = make("dl", "rs-tiles");
			tiles.append(...(frames[Math.min(rank, frames.length) - 1] ?? []).map(tile));
			box.replaceChildren(tiles);
		};
		const drawOwn = () => draw(parsed(props.value)?.rank ?? 1);
		rankPictures.set(box.dataset.id, draw);
		drawOwn();
		watch("value", drawOwn);
	}

	/* ---- problem boxes ----------------------------------------------------------------- */

	const labelOf = (field) =>
		field?.querySelector("[data-testid='block-info'], label > span")?.textContent.trim();

	function mark(field, message) {
		field.classList.add("rs-wrong");
		const input = field.querySelector("input, textarea, select");
		if (input) input.setAttribute("aria-invalid", "true");
		field.append(make("p", "rs-wrong-text", message));
	}

	function unmark(fields) {
		fields.forEach((field) => {
			field.classList.remove("rs-wrong");
			field.querySelectorAll(":scope > .rs-wrong-text").forEach((text) => text.remove());
			field
				.querySelectorAll("[aria-invalid]")
				.forEach((input) => input.removeAttribute("aria-invalid"));
		});
	}

	function problem(element, props, watch) {
		const box = element.querySelector(".rs-problem");
		let marked = [];
		const draw = () => {
			const content = parsed(props.value);
			unmark(marked);
			marked = [];
			box.replaceChildren();
			box.hidden = !content;
			if (!content) return;
			if (content.problem) box.append(make("p", "rs-what", content.problem));
			const list = make("ul");
			content.fields.forEach((item) => {
				const field = document.getElementById(item.id);
				list.append(make("li", "", `${labelOf(field) || item.path}: ${item.message}`));
				if (field) {
					mark(field, item.message);
					marked.push(field);
				}
			});
			if (content.fields.length) box.append(list);
			box.append(make("p", "rs-remedy", content.remedy));
		};
		draw();
		watch("value", draw);
	}

	/* ---- choices ----------------------------------------------------------------------- */

	/* Backspace takes the last of several choices away; Gradio then tells the page nothing, so
	   that choice's own button is pressed instead. */
	document.addEventListener(
		"keydown",
		(event) => {
			const field = event.target;
			if (event.key !== "Backspace" || field.tagName !== "INPUT" || field.value) return;
			const chosen = field.closest(".block")?.querySelectorAll(".token .token-remove");
			if (!chosen?.length) return;
			event.preventDefault();
			event.stopImmediatePropagation();
			chosen[chosen.length - 1].click();
		},
		true,
	);

	return { plot, table, problem, rankPicture, rankTiles, showRank, sizeBar, csv };
})();
