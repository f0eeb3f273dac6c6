/* The calculator page's own parts: the worked example (matrices as tables of numbers, coloured by
   value, three of them to edit) and the map of layers. Every derived number is the server's. */

import { make, parsed, tile } from "../shared/elements.js";
import { tr } from "../shared/language.js";

const NAMES = { B: "B", A: "A", delta_weight: "ΔW", W: "W", adapted: "W′" };
const SUMS = [
	["delta_weight", "=", "scaling", "·", "B", "·", "A"],
	["adapted", "=", "W", "+", "delta_weight"],
];

const shown = (value) => {
	const rounded = Number(value.toFixed(2));
	return String(Object.is(rounded, -0) ? 0 : rounded).replace("-", "−");
};

const largest = (rows) => Math.max(1e-9, ...rows.flat().map(Math.abs));

function paint(cell, value, most) {
	const part = Math.min(1, Math.abs(value) / most);
	cell.style.setProperty("--part", `${Math.round(46 * part)}%`);
	cell.classList.toggle("rs-below", value < 0);
}

function matrix(name, title, rows, most, changed) {
	const figure = make("figure", "rs-matrix");
	const grid = make("table");
	const size = { title, rows: rows.length, columns: rows[0].length };
	grid.setAttribute("aria-label", tr("{title}, {rows} rows, {columns} columns", size));
	rows.forEach((row, i) => {
		const line = make("tr");
		row.forEach((value, j) => {
			const cell = make("td");
			paint(cell, value, most);
			if (changed) cell.append(field(name, value, i, j, changed));
			else cell.textContent = shown(value);
			line.append(cell);
		});
		grid.append(line);
	});
	const caption = make("figcaption");
	caption.append(make("b", "", title), ` ${rows.length} × ${rows[0].length}`);
	figure.append(grid, caption);
	return figure;
}

function field(name, value, i, j, changed) {
	const input = make("input");
	input.type = "text";
	input.inputMode = "decimal";
	input.value = shown(value);
	input.dataset.key = `${name}-${i}-${j}`;
	const place = { name, row: i + 1, column: j + 1 };
	input.setAttribute("aria-label", tr("{name}, row {row}, column {column}", place));
	input.addEventListener("focus", () => input.select());
	input.addEventListener("change", () => {
		const number = Number(input.value.trim().replace(",", ".").replace("−", "-"));
		const usable = input.value.trim() !== "" && Number.isFinite(number);
		input.setAttribute("aria-invalid", String(!usable));
		if (usable) changed(name, i, j, number);
		else wrong(input);
	});
	return input;
}

/* The matrix stays as it was; what is wrong stands in the words below it. */
function wrong(input) {
	const words = input.closest(".rs-example").querySelector(".rs-words");
	words.textContent = tr("“{value}” in {place} is no number; type one such as 0.5.", {
		value: input.value,
		place: input.getAttribute("aria-label"),
	});
}

function sum(parts, content, changed) {
	const line = make("div", "rs-sum");
	parts.forEach((part) => {
		if (part === "scaling") line.append(make("span", "rs-sum-sign", shown(content.scaling)));
		else if (!NAMES[part]) line.append(make("span", "rs-sum-sign", part));
		else {
			const editable = part.length === 1 ? changed : null;
			line.append(matrix(part, NAMES[part], content[part], content.most, editable));
		}
	});
	return line;
}

/* The losses of the steps so far as a line, from zero to the largest. */
function curve(losses) {
	const space = "http://www.w3.org/2000/svg";
	const drawing = document.createElementNS(space, "svg");
	drawing.setAttribute("viewBox", "0 0 200 60");
	drawing.setAttribute("role", "img");
	drawing.setAttribute("aria-label", tr("Loss over {steps} steps", { steps: losses.length - 1 }));
	const most = Math.max(...losses, 1e-12);
	const points = losses.map(
		(loss, i) =>
			`${(2 + (196 * i) / (losses.length - 1)).toFixed(1)},${(57 - (54 * loss) / most).toFixed(1)}`,
	);
	const line = document.createElementNS(space, "polyline");
	line.setAttribute("points", points.join(" "));
	drawing.append(line);
	const figure = make("figure", "rs-losses");
	figure.append(drawing, make("figcaption", "", tr("loss, step by step, from zero")));
	return figure;
}

export function example(element, props, watch, trigger) {
	const box = element.querySelector(".rs-example");
	const changed = (name, i, j, number) => {
		const content = JSON.parse(props.value);
		content[name][i][j] = number;
		props.value = JSON.stringify(content);
		trigger("input");
	};
	const draw = () => {
		const content = JSON.parse(props.value);
		content.most = Math.max(...["W", "adapted", "target"].map((name) => largest(content[name])));
		const key = box.contains(document.activeElement) && document.activeElement.dataset.key;
		const tiles = make("dl", "rs-tiles");
		tiles.append(...content.tiles.map(tile));
		const steps = make("div", "rs-sum");
		steps.append(
			matrix("target", tr("target"), content.target, content.most),
			matrix("grad_B", "∂L/∂B", content.grad_B, largest(content.grad_B)),
			matrix("grad_A", "∂L/∂A", content.grad_A, largest(content.grad_A)),
		);
		if (content.losses.length > 1) steps.append(curve(content.losses));
		const words = make("p", "rs-words", content.words);
		words.setAttribute("role", "status");
		box.replaceChildren(tiles, ...SUMS.map((parts) => sum(parts, content, changed)), words, steps);
		if (key) box.querySelector(`[data-key="${CSS.escape(key)}"]`)?.focus();
	};
	draw();
	watch("value", draw);
}

/* The modules of a model; a tick tells what the targets become, in the order of the ticks.

   An answer to what was asked before a tick may come after it. It does not take the tick back: the
   next tick would then tell targets without the one before. */
export function ticks(element, props, watch, trigger) {
	const box = element.querySelector(".rs-ticks");
	let own = null; // what was ticked here, and the question that was answered before it
	const standing = () => {
		const content = parsed(props.value);
		if (!content || !own) return content;
		if (String(content.asked) !== own.before) own = null;
		else content.ticked = own.ticked;
		return content;
	};
	const tick = (index, isTicked) => {
		const content = standing();
		const others = content.ticked.filter((other) => other !== index);
		content.ticked = isTicked ? [...others, index] : others;
		own = { before: String(content.asked), ticked: content.ticked };
		props.value = JSON.stringify(content);
		trigger("input");
	};
	const draw = () => {
		const focused = box.contains(document.activeElement) && document.activeElement.name;
		box.replaceChildren();
		const content = standing();
		if (!content) return;
		const set = make("fieldset");
		set.append(make("legend", "", tr("What this model has")));
		content.modules.forEach(({ label }, index) => {
			const input = make("input");
			const checked = content.ticked.includes(index);
			Object.assign(input, { type: "checkbox", name: label, checked });
			input.addEventListener("change", () => tick(index, input.checked));
			const line = make("label");
			line.append(input, make("span", "", label));
			set.append(line);
		});
		box.append(set);
		if (focused) box.querySelector(`[name="${CSS.escape(focused)}"]`)?.focus();
	};
	draw();
	watch("value", draw);
}

export function targetsTicked(value) {
	const { modules, ticked } = parsed(value);
	return [ticked.flatMap((index) => modules[index].targets).join(",")];
}

/* Trained parameters by module (down) and layer (across), the darker the more. */
export function layerMap(element, props, watch) {
	const box = element.querySelector(".rs-layer-map");
	const draw = () => {
		const content = parsed(props.value) ?? { rows: [] };
		box.replaceChildren();
		box.hidden = !content.rows.length;
		if (box.hidden) return;
		const most = Math.max(1, ...content.rows.flatMap((row) => row.parameters));
		const frame = make("div", "rs-map-scroll");
		frame.tabIndex = 0;
		frame.setAttribute("role", "region");
		const kinds = content.rows.map((row) => row.module).join(", ");
		frame.setAttribute(
			"aria-label",
			tr("Trained parameters in {count} layers, by module: {kinds}", {
				count: content.layers.length,
				kinds,
			}),
		);
		const grid = make("table");
		content.rows.forEach((row) => {
			const line = make("tr");
			const head = make("th", "", row.module);
			head.scope = "row";
			line.append(head);
			row.parameters.forEach((number, i) => {
				const cell = make("td");
				cell.style.setProperty("--part", `${Math.round((100 * number) / most)}%`);
				cell.title = tr("{module}, layer {layer}: {number}", {
					module: row.module,
					layer: content.layers[i],
					number: number.toLocaleString("en"),
				});
				line.append(cell);
			});
			grid.append(line);
		});
		frame.append(grid);
		const last = content.layers[content.layers.length - 1];
		box.append(
			frame,
			make(
				"p",
				"rs-map-words",
				tr(
					"Layers {first} to {last} from left to right; full color is {most} trained parameters.",
					{ first: content.layers[0], last, most: most.toLocaleString("en") },
				),
			),
		);
	};
	draw();
	watch("value", draw);
}

/* QLoRA's recipe recomputes activations: what is stored in 4 bits turns it on, nothing turns it off. */
export function checkpointingFor(bits, isOn) {
	return [Number(bits) === 4 || isOn];
}
