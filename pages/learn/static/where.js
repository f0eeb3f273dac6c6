/* The step "where": a table of layers and kinds of modules, coloured by what was measured of them;
   a cell that is pressed says what stands behind it. */

import { make, parsed } from "../shared/elements.js";
import { say, significant } from "./words.js";

const ALL = "*";

export function where(box, props) {
	const { measured, parts, layers, words } = parsed(props.value);
	const places = [...layers, ALL];
	const keys = [...parts.map((part) => part.key), ALL];
	let measure = "cost";
	let chosen = `${layers.at(-1)}.down_proj`;

	/* What leaving a place out costs, in nats a token; or the size of its update. */
	const value = (name) => {
		if (measure === "cost") return measured.left_out[name] - measured.loss;
		const [layer, part] = name.split(".");
		const inside = Object.entries(measured.norms).filter(([place]) => {
			const [l, p] = place.split(".");
			return (layer === ALL || l === layer) && (part === ALL || p === part);
		});
		return Math.hypot(...inside.map(([, norm]) => norm));
	};

	const table = make("table", "rs-where");
	const caption = make("caption");
	const body = make("tbody");
	const head = make("tr");
	head.append(make("td"), ...layers.map((layer) => header(say(words.layer, { layer }), "col")));
	head.append(header(words.allLayers, "col"));
	const top = make("thead");
	top.append(head);
	table.append(caption, top, body);
	const cells = new Map();
	for (const key of keys) {
		const row = make("tr");
		row.append(header(parts.find((part) => part.key === key)?.name ?? words.allParts, "row"));
		for (const layer of places) row.append(cell(layer, key));
		body.append(row);
	}

	const radios = make("div", "rs-choice");
	radios.setAttribute("role", "group");
	radios.setAttribute("aria-label", words.measure);
	const choices = ["cost", "norm"].map((name) => {
		const node = make("button", "rs-button rs-small", words[name]);
		node.type = "button";
		node.addEventListener("click", () => {
			measure = name;
			draw();
		});
		radios.append(node);
		return [name, node];
	});
	const told = make("p", "rs-learn-words");
	told.setAttribute("role", "status");
	const scroll = make("div", "rs-where-holder");
	scroll.append(table);
	box.classList.add("rs-sheet", "rs-lesson-panel");
	box.replaceChildren(radios, scroll, told, make("p", "rs-learn-note", words.how));
	draw();

	function header(text, scope) {
		const node = make("th", "", text);
		node.scope = scope;
		return node;
	}

	function cell(layer, key) {
		const holder = make("td");
		if (layer === ALL && key === ALL) return holder;
		const name = `${layer}.${key}`;
		const node = make("button");
		node.type = "button";
		node.addEventListener("click", () => {
			chosen = name;
			draw();
		});
		cells.set(name, node);
		holder.append(node);
		return holder;
	}

	function draw() {
		caption.textContent = words[`${measure}Caption`];
		for (const [name, node] of choices) node.setAttribute("aria-pressed", String(name === measure));
		const isSum = (name) => name.includes(ALL);
		const single = [...cells.keys()].filter((name) => !isSum(name));
		const most = Math.max(...single.map(value));
		const sums = Math.max(...[...cells.keys()].filter(isSum).map(value));
		for (const [name, node] of cells) {
			const now = value(name);
			const share = Math.max(0, Math.min(1, now / (isSum(name) ? sums : most)));
			node.textContent = measure === "cost" ? signed(now) : significant(now);
			node.style.setProperty("--part", `${Math.round(44 * share)}%`);
			node.setAttribute("aria-pressed", String(name === chosen));
		}
		told.textContent = sentence();
	}

	function sentence() {
		const [layer, key] = chosen.split(".");
		const part = parts.find((one) => one.key === key);
		const without = measured.left_out[chosen];
		const values = {
			layer,
			name: part?.name,
			text: part?.text,
			loss: significant(measured.loss),
			without: significant(without),
			cost: signed(without - measured.loss),
			alone: part && significant(measured.left_out[`only.${key}`]),
			base: significant(measured.base_loss),
		};
		if (!part) return say(words.ofLayer, values);
		return say(layer === ALL ? words.ofPart : words.ofModule, values);
	}
}

function signed(value) {
	const size = Math.abs(value).toFixed(3);
	if (Number(size) === 0) return "0";
	return `${value < 0 ? "−" : "+"}${size}`;
}
