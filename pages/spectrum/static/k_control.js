/* Where k is chosen: a number, a slider, and buttons for the shares of the energy. */

import { make } from "../shared/elements.js";
import { tr } from "../shared/language.js";
import { button, numberField } from "./controls.js";
import { grouped } from "./numbers.js";

export class KControl {
	constructor(choose) {
		this.choose = choose;
		this.typed = make("input", "rs-k-number");
		Object.assign(this.typed, { type: "number", min: 1 });
		this.typed.addEventListener("change", () => this.take(Number(this.typed.value)));
		this.note = make("p", "rs-wrong-text");
		this.note.setAttribute("role", "alert");
		this.note.hidden = true;
		this.slider = make("input", "rs-k-slider");
		Object.assign(this.slider, { type: "range", min: 1 });
		this.slider.setAttribute("aria-label", tr("k, directions kept"));
		this.slider.addEventListener("input", () => choose(Number(this.slider.value)));
		this.shortcuts = make("div", "rs-shortcuts");
		const label = make("label", "rs-k-label");
		label.append(make("span", "", tr("Directions kept, k")), this.typed);
		this.node = make("div", "rs-k");
		this.node.append(label, this.note, this.slider, this.shortcuts);
	}

	/* A typed k; one that does not exist is refused in words, and nothing moves. */
	take(k) {
		const most = Number(this.typed.max);
		if (Number.isInteger(k) && k >= 1 && k <= most) {
			this.choose(k);
			return;
		}
		this.refuse(
			tr("k is a whole number from 1 to {most}; still shown is k = {k}.", {
				most: grouped(most),
				k: grouped(this.k),
			}),
		);
		this.typed.setAttribute("aria-invalid", "true");
	}

	refuse(words) {
		this.note.textContent = words;
		this.note.hidden = false;
	}

	/* marks: [{share, k}], k null where it is not known. energy: the share kept, one value a k. */
	show(marks, energy) {
		this.slider.max = this.typed.max = energy.length;
		const known = marks.filter(({ k }) => k !== null && k > 0);
		const chips = known.map(({ share, k }) =>
			button(
				tr("{share} % at k = {k}", { share: 100 * share, k: grouped(k) }),
				() => this.choose(k),
				"rs-chip",
			),
		);
		const field = { min: 1, max: 100, step: "any", value: 98 };
		const chooseShare = (percent) => {
			if (!(percent > 0 && percent <= 100)) {
				this.refuse(
					tr("A share of the energy is above 0 and at most 100 %; still shown is k = {k}.", {
						k: grouped(this.k),
					}),
				);
				return;
			}
			const share = (percent / 100) * (1 - 1e-12); // 100 % is reached in spite of rounding
			const k = energy.findIndex((kept) => kept >= share) + 1;
			this.choose(k || energy.length);
		};
		const wish = numberField(tr("k for"), field, chooseShare, tr("% energy"));
		this.shortcuts.replaceChildren(...chips, wish);
	}

	moveTo(k) {
		this.k = k;
		this.note.hidden = true;
		this.typed.removeAttribute("aria-invalid");
		this.slider.value = k;
		this.typed.value = k;
	}

	/* What a screen reader hears at the slider. */
	describe(words) {
		this.slider.setAttribute("aria-valuetext", words);
	}
}
