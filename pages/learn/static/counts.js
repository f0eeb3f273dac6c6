/* The step "counts": the sizes of W, B and A to one scale while the rank moves, and a table of the
   engine's counts. */

import { make, parsed } from "../shared/elements.js";
import { slider } from "./controls.js";
import { say, significant } from "./words.js";

const SIDE_PX = 108;

export function counts(box, props) {
	const content = parsed(props.value);
	const { words, sides, ranks } = content;
	let side = content.side;

	const sizes = choice(words.side, sides, side, (value) => {
		side = value;
		draw();
	});
	const rank = slider({
		label: words.rank,
		least: 1,
		most: 512,
		value: content.rank,
		text: String,
		moved: () => draw(),
	});
	const [whole, tall, flat] = ["W", "B", "A"].map((name) => block(name));
	const blocks = make("div", "rs-counts-blocks");
	blocks.append(whole.node, make("span", "", "+"), tall.node, make("span", "", "·"), flat.node);
	const bars = [words.whole, words.small].map((name, i) => bar(name, i === 1));
	const sentence = make("p", "rs-learn-words rs-counts-words");
	sentence.setAttribute("role", "status");
	const table = counted(content, (row, column) => {
		rank.set(ranks[row]);
		side = sides[column];
		sizes.set(side);
		draw();
	});
	const left = make("div", "rs-counts-left");
	left.append(sizes.node, rank.row, sentence, ...bars.map(({ row }) => row), blocks);
	const both = make("div", "rs-sheet rs-learn-two");
	both.append(left, table.node);
	box.replaceChildren(both);

	function draw() {
		const r = rank.input.valueAsNumber;
		const [full, small] = [side * side, r * 2 * side];
		const most = Math.max(full, small);
		whole.show(1, 1, `${side} × ${side}`);
		tall.show(r / side, 1, `${side} × ${r}`);
		flat.show(1, r / side, `${r} × ${side}`);
		bars[0].show(full / most, full);
		bars[1].show(small / most, small);
		const text = small < full ? words.sentence : words.more;
		sentence.textContent = say(text, {
			small: small.toLocaleString("en"),
			full: full.toLocaleString("en"),
			share: significant((100 * small) / full),
			times: significant(full / small),
		});
		table.mark(ranks.indexOf(r), sides.indexOf(side));
	}
	draw();
}

/* One of several sizes; the arrow keys are the radio buttons' own. */
function choice(label, values, chosen, moved) {
	const node = make("fieldset", "rs-counts-sides");
	node.append(make("legend", "", label));
	const inputs = values.map((value) => {
		const input = make("input");
		Object.assign(input, { type: "radio", name: "learn-counts-side", checked: value === chosen });
		input.addEventListener("change", () => moved(value));
		const line = make("label");
		line.append(input, `${value} × ${value}`);
		node.append(line);
		return input;
	});
	const set = (value) => {
		inputs[values.indexOf(value)].checked = true;
	};
	return { node, set };
}

function block(name) {
	const node = make("figure");
	const area = make("div", `rs-counts-${name.toLowerCase()}`);
	const size = make("span");
	const caption = make("figcaption");
	caption.append(make("b", "", name), size);
	node.append(area, caption);
	const show = (width, height, text) => {
		area.style.width = `${Math.max(2, SIDE_PX * width)}px`;
		area.style.height = `${Math.max(2, SIDE_PX * height)}px`;
		size.textContent = text;
	};
	return { node, show };
}

function bar(name, isSmall) {
	const row = make("div", `rs-learn-bar${isSmall ? " rs-learn-bar-low" : ""}`);
	const fill = make("i");
	const track = make("span");
	const value = make("b");
	track.append(fill);
	row.append(make("span", "", name), track, value);
	const show = (share, count) => {
		fill.style.width = `max(2px, ${100 * share}%)`;
		value.textContent = count.toLocaleString("en");
	};
	return { row, show };
}

/* The table; a number in it is a button that shows its rank and size. */
function counted({ words, sides, ranks, table, full }, chosen) {
	const node = make("table", "rs-counts-table");
	node.append(make("caption", "", words.table));
	const head = make("tr");
	head.append(headed("r", "col"), ...sides.map((side) => headed(`${side}²`, "col")));
	node.append(head);
	const buttons = table.map((row, i) => {
		const line = make("tr");
		line.append(headed(String(ranks[i]), "row"));
		const made = row.map((count, j) => {
			const button = make("button", "", count.toLocaleString("en"));
			button.type = "button";
			button.append(make("small", "", `${significant((100 * count) / full[j])} %`));
			button.addEventListener("click", () => chosen(i, j));
			const cell = make("td");
			cell.append(button);
			line.append(cell);
			return button;
		});
		node.append(line);
		return made;
	});
	const mark = (row, column) => {
		buttons.forEach((line, i) => {
			line.forEach((button, j) => {
				button.setAttribute("aria-pressed", String(i === row && j === column));
			});
		});
	};
	return { node, mark };
}

function headed(text, scope) {
	const cell = make("th", "", text);
	cell.scope = scope;
	return cell;
}
