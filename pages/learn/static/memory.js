/* The step "memory": what the notes say and what the calculator counts, as bars to one scale; a
   slider moves a card's memory over them. */

import { make, parsed } from "../shared/elements.js";
import { slider } from "./controls.js";
import { say } from "./words.js";

const GIB = 1.073741824; // in GB: a card's size is told in GiB
const PARTS = ["weights", "state", "step", "margin"];

export function memory(box, props) {
	const { rows, words } = parsed(props.value);
	const groups = new Map();
	for (const row of rows) {
		if (!groups.has(row.model)) groups.set(row.model, []);
		groups.get(row.model).push(row);
	}
	const legend = make("p", "rs-lesson-legend");
	for (const part of PARTS) {
		const one = make("span");
		one.append(make("i", `rs-part-${part}`), words.parts[part]);
		legend.append(one);
	}
	const drawn = [...groups].map(([model, members]) => group(model, members, words));
	const control = slider({
		label: words.card,
		least: 0,
		most: words.cards.length - 1,
		value: words.cards.indexOf(24),
		text: (i) => `${words.cards[i]} GiB`,
		moved: show,
	});
	const controls = make("div", "rs-sliders");
	controls.append(control.row);
	box.classList.add("rs-sheet", "rs-lesson-panel");
	box.replaceChildren(controls, legend, ...drawn.map((one) => one.node));
	box.append(make("p", "rs-learn-note", words.how));

	function show(i) {
		for (const one of drawn) one.show(words.cards[i] * GIB);
	}
	show(control.input.valueAsNumber);
}

/* All rows of one model, to one scale. */
function group(model, members, words) {
	const most = Math.max(...members.flatMap((row) => [row.noted_gb, row.total_gb]));
	const node = make("section", "rs-memory");
	node.append(make("h3", "", model));
	const bars = [];
	for (const row of members) {
		const part = make("div", "rs-memory-row");
		const noted = bar(words.noted, row.noted_gb, most, [["noted", row.noted_gb]]);
		const parts = PARTS.map((name) => [name, row.parts_gb[name]]);
		const counted = bar(words.counted, row.total_gb, most, parts);
		part.append(make("h4", "", row.name), noted.node, counted.node, make("p", "", row.why));
		node.append(part);
		bars.push(noted, counted);
	}
	const show = (card) => {
		for (const one of bars) one.show(card, most, words);
	};
	return { node, show };
}

function bar(name, total, most, parts) {
	const node = make("div", "rs-memory-bar");
	const track = make("div", "rs-memory-track");
	for (const [part, size] of parts) {
		const piece = make("i", `rs-part-${part}`);
		piece.style.width = `${(100 * Math.max(0, size)) / most}%`;
		track.append(piece);
	}
	const card = make("em");
	track.append(card);
	const fits = make("b");
	node.append(make("span", "", name), track, fits);
	const show = (size, scale, words) => {
		card.style.left = `${Math.min(100, (100 * size) / scale)}%`;
		const isIn = total <= size;
		node.classList.toggle("rs-fits", isIn);
		const gb = total >= 100 ? Math.round(total).toLocaleString("en-US") : Number(total.toFixed(1));
		fits.textContent = say(isIn ? words.fits : words.over, { gb });
	};
	return { node, show };
}
