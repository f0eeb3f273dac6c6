/* The methods as cards: one group of radio buttons. All numbers and texts are the server's. */

import { make, parsed } from "../shared/elements.js";

const NONE = "none"; // the form's choice that leaves the base as it is

/* The group on the page: the cards' content is the server's, which one is chosen the form's. */
const group = { content: null, chosen: "lora", asked: null, draw: () => {} };

/* What the card that was pressed sets: kind, DoRA and bits; and the learning rate, while it is
   still the one that suited the card before. */
export function choose(bits, rate) {
	const { content, asked } = group;
	const card = content.cards.find(({ id }) => id === asked.id);
	const before = content.cards.find(({ id }) => id === asked.before);
	const isQuantized = card.id === "qlora";
	return [
		card.kind,
		card.id === "dora",
		isQuantized ? (bits === NONE ? 4 : bits) : NONE,
		rate === before?.rate ? card.rate : rate,
	];
}

/* The card that the form's fields mean is the chosen one. */
export function follow(kind, dora, bits) {
	const ofLora = bits !== NONE ? "qlora" : dora ? "dora" : "lora";
	group.chosen = kind === "lora" ? ofLora : kind;
	group.draw();
	return [];
}

class Card {
	constructor(name, onChoose) {
		this.node = make("label", "rs-method-card");
		this.input = make("input");
		this.input.type = "radio";
		this.input.name = name;
		this.input.addEventListener("change", () => onChoose(this.input.value));
		this.title = make("b");
		this.what = make("span", "rs-method-what");
		this.figures = make("span", "rs-method-figures");
		this.trained = make("span", "rs-method-trained");
		this.node.append(this.input, this.title, this.what, this.figures, this.trained);
	}

	show({ id, name, what, memory, time, trained, why, over }, isChosen) {
		this.input.value = id;
		this.input.checked = isChosen;
		this.title.textContent = name;
		this.what.textContent = what;
		const figures = why ? [why] : [memory, time];
		this.figures.replaceChildren(...figures.map((text) => make("span", "", text)));
		this.trained.textContent = trained;
		this.node.classList.toggle("rs-method-refused", Boolean(why));
		this.node.classList.toggle("rs-over-memory", Boolean(over));
	}
}

export function methodCards(element, props, watch, trigger) {
	const box = element.querySelector(".rs-methods");
	const first = make("div", "rs-method-grid");
	const rest = make("div", "rs-method-grid");
	const more = make("details", "rs-more-methods");
	const summary = make("summary");
	more.append(summary, rest);
	const shown = [];
	const onChoose = (id) => {
		group.asked = { id, before: group.chosen };
		group.chosen = id;
		trigger("input");
	};
	group.draw = () => {
		const content = parsed(props.value);
		if (!content) return;
		group.content = content;
		box.setAttribute("role", "radiogroup");
		box.setAttribute("aria-label", content.label);
		summary.textContent = content.more;
		content.cards.forEach((card, place) => {
			if (!shown[place]) {
				shown[place] = new Card("rs-method-card", onChoose);
				(place < content.first ? first : rest).append(shown[place].node);
			}
			const isChosen = card.id === group.chosen;
			shown[place].show(card, isChosen);
			if (isChosen && place >= content.first) more.open = true;
		});
		if (!first.isConnected) box.append(first, more);
	};
	group.draw();
	watch("value", group.draw);
}
