/* Repairs Gradio's fields of several choices, on every page.
   Backspace removes the last choice, and Gradio then does not tell the page: this presses the
   button of that choice instead. */

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
