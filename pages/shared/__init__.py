"""What the pages share; it knows no page.

    layout        the shell of a page, numbers in words, links with state
    wiring        binds a handler to events, and shows what went wrong
    late_answers  the person's last choice wins over an answer that comes late
    forms         form fields made from the spec, and a spec read from them
    spec_fields   what the spec says of a field: kind, choices, bounds, help
    choice_names  the spec's choices in words
    mixture_lines  a mixture of sets, as lines that are typed
    unread_fields  what the chosen objective and rules do not read, left out
    class_scores  what a classifier got right, class by class
    address_fields  a page's fields in its address
    live          plots and tables that are fed, as components
    figures       data to Plotly figures
    static_files  JavaScript, styles and icon: their addresses, and the route
    train_link    the train page's address: a run to copy, and fields that differ
    adapter_choices  the adapters to choose from, and what each is called
    base_choices  the base models a field offers when its page opens
    collisions    what two updates do to each other, in words
    advice_panel  which rank to start with: asked, answered (advice_html), used
    alpha_note    what alpha means at the rank
    introduction  what the program is, in one sentence, and where to begin
    not_found     the page at an address where nothing is
    background_work  a thread per task, its progress row and its Stop button
    questions     a question that is taken back: hidden in the browser, at once
    downloads     files that a download button hands out
    stop_button   stop buttons, each for the tab it was clicked in
    theme         colours, fonts and sizes
    security      the guard in front of every request

`static` has a JavaScript module for each part and the styles that all pages have.
"""
