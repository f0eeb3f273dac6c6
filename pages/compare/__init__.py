"""The compare page: the base and the adapted model answer the same question, side by side.

page            the page, put together from its parts
adapter_choice  which adapters and which base are asked
conversation    the conversation of one browser tab; conversation_fields are its components
chat            the question, its buttons and what they do
answers         the columns while the answers grow
column_warnings badges: what was measured of the columns, what does not fit
saved_session   a comparison as it is saved, reopened and linked
opening         what the page opens on
remote_server   a column from another server
answer_analysis the last answer token by token; answer_analysis_html draws it
blind_vote      votes without names
prompt_set      many prompts at once; prompt_set_report draws them
forgetting      the loss on general rows; held_out_losses draws losses
routes          the exports of a saved comparison by GET
static          the page's CSS
"""

from pages.compare.page import build

__all__ = ["build"]
