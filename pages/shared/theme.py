"""The one theme: system fonts (nothing is fetched), slate greys and one teal accent.

Names are Gradio's; a name ending in `_dark` holds in dark mode.
"""

from __future__ import annotations

import gradio as gr

TEAL = gr.themes.Color(
    c50="#f0fdfa",
    c100="#ccfbf1",
    c200="#99f6e4",
    c300="#5eead4",
    c400="#2dd4bf",
    c500="#14b8a6",
    c600="#0d7d74",
    c700="#0f6b64",
    c800="#115e59",
    c900="#134e4a",
    c950="#042f2e",
)

SURFACES = {
    "body_background_fill": "*neutral_50",
    "body_background_fill_dark": "#0b1220",
    "background_fill_primary": "white",
    "background_fill_primary_dark": "#111a2b",
    "background_fill_secondary": "*neutral_50",
    "background_fill_secondary_dark": "#0b1220",
    "block_background_fill": "white",
    "block_background_fill_dark": "#111a2b",
    "block_border_width": "1px",
    "block_border_color_dark": "#26334a",
    "border_color_primary_dark": "#26334a",
}
"""What things stand on, and the lines around them."""

WORDS = {
    "block_label_background_fill": "transparent",
    "block_label_background_fill_dark": "transparent",
    "block_label_border_width": "0px",
    "block_label_text_color": "*neutral_600",
    "block_label_text_color_dark": "*neutral_300",
    "block_title_text_weight": "600",
    "block_title_text_color": "*neutral_700",
    "block_title_text_color_dark": "*neutral_200",
    "block_info_text_color": "*neutral_600",
    "block_info_text_color_dark": "*neutral_400",
    "body_text_color_subdued": "*neutral_600",
    "body_text_color_subdued_dark": "*neutral_400",
    "link_text_color": "*primary_700",
    "link_text_color_dark": "*primary_300",
    "link_text_color_visited": "*primary_700",
    "link_text_color_visited_dark": "*primary_300",
    "link_text_color_hover": "*primary_800",
    "link_text_color_hover_dark": "*primary_200",
    "link_text_color_active": "*primary_700",
    "link_text_color_active_dark": "*primary_300",
}
"""Labels, titles, help and links."""

FIELDS = {
    "input_background_fill": "white",
    "input_background_fill_dark": "#0b1220",
    "input_border_width": "1px",
    "input_border_color": "*neutral_300",
    "input_border_color_dark": "#3b4a63",
    "input_placeholder_color": "*neutral_500",
    "slider_color": "*primary_600",
    "slider_color_dark": "*primary_400",
    "checkbox_background_color_selected": "*primary_600",
    "checkbox_background_color_selected_dark": "*primary_600",
    "checkbox_border_color": "*neutral_400",
    "checkbox_border_color_dark": "#64748b",
    "checkbox_border_color_selected": "*primary_600",
    "checkbox_border_color_selected_dark": "*primary_600",
}
"""What is typed into, moved or ticked."""

BUTTONS = {
    "button_primary_background_fill": "*primary_600",
    "button_primary_background_fill_hover": "*primary_700",
    "button_primary_background_fill_dark": "*primary_600",
    "button_primary_background_fill_hover_dark": "*primary_700",
    "button_primary_text_color": "white",
    "button_secondary_background_fill": "white",
    "button_secondary_background_fill_dark": "#1b2740",
    "button_secondary_border_color": "*neutral_300",
    "button_secondary_border_color_dark": "#3b4a63",
    "button_border_width": "1px",
}


def theme() -> gr.themes.Base:
    return gr.themes.Base(
        primary_hue=TEAL,
        secondary_hue=TEAL,
        neutral_hue=gr.themes.colors.slate,
        font=["system-ui", "-apple-system", "Segoe UI", "Roboto", "sans-serif"],
        font_mono=["ui-monospace", "SFMono-Regular", "Menlo", "Consolas", "monospace"],
        radius_size=gr.themes.sizes.radius_md,
        spacing_size=gr.themes.sizes.spacing_md,
    ).set(**SURFACES, **WORDS, **FIELDS, **BUTTONS)
