/* The language of this page: texts of scripts in it, and the way to the page in another one. */

let messages;

/* The translations that the page's head brings, by their English. */
function known() {
	const written = document.getElementById("rs-messages")?.textContent;
	messages ??= written ? JSON.parse(written) : {};
	return messages;
}

/* The text in the page's language, `{name}` replaced by the value of that name. */
export function tr(message, values = {}) {
	const text = known()[message] ?? message;
	return text.replace(/\{(\w+)\}/g, (place, name) => (name in values ? values[name] : place));
}

const ONE_YEAR_S = 31_536_000;

/* The links in the header lead to what the address says when they are followed, and the choice is
   kept: it decides from then on, in place of the browser's language. */
export function languageSwitch(element) {
	for (const link of element.querySelectorAll(".rs-language")) {
		link.addEventListener("click", () => {
			const { search, hash } = window.location;
			link.href = new URL(link.href).pathname + search + hash;
			const kept = `path=/; max-age=${ONE_YEAR_S}; SameSite=Lax`;
			// biome-ignore lint/suspicious/noDocumentCookie: not every browser has a Cookie Store
			document.cookie = `rankscope_language=${link.dataset.language}; ${kept}`;
		});
	}
}
