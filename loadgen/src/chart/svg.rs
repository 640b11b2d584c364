//! The few elements of SVG that charts are made of.

use std::fmt::Write;

/// An SVG text that is being written.
pub(super) struct Svg {
    text: String,
}

impl Svg {
    pub(super) fn new(width: f64, height: f64, title: &str) -> Self {
        let title = escape(title);
        let text = format!(
            r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" aria-label="{title}" font-family="system-ui,'Segoe UI','Liberation Sans',Helvetica,Arial,sans-serif" font-size="12">
<rect width="100%" height="100%" fill="white"/>
"#
        );
        Self { text }
    }

    fn put(&mut self, line: std::fmt::Arguments<'_>) {
        self.text.write_fmt(line).expect("a string takes all");
        self.text.push('\n');
    }

    pub(super) fn text(&mut self, (x, y): (f64, f64), look: &str, text: &str) {
        let text = escape(text);
        self.put(format_args!(r#"<text x="{x:.1}" y="{y:.1}" {look}>{text}</text>"#));
    }

    /// Begins a group that belongs to the line of that number, for pages that do something with it.
    pub(super) fn open(&mut self, class: &str, line: usize) {
        self.put(format_args!(r#"<g class="{class}" data-line="{line}">"#));
    }

    pub(super) fn close(&mut self) {
        self.put(format_args!("</g>"));
    }

    /// A line without a filling.
    pub(super) fn path(&mut self, path: &str, look: &str) {
        self.put(format_args!(r#"<path d="{path}" fill="none" {look}/>"#));
    }

    /// A filled shape that says what it is to who points at it.
    pub(super) fn shape(&mut self, path: &str, colour: &str, says: &str) {
        let says = escape(says);
        self.put(format_args!(r#"<path d="{path}" fill="{colour}"><title>{says}</title></path>"#));
    }

    pub(super) fn dot(&mut self, (x, y): (f64, f64), look: &str, says: &str) {
        let says = escape(says);
        self.put(format_args!(
            r#"<circle cx="{x:.1}" cy="{y:.1}" {look}><title>{says}</title></circle>"#
        ));
    }

    pub(super) fn end(self) -> String {
        self.text + "</svg>\n"
    }
}

/// About how wide a text is at 12 pixels, by the widest of the common fonts (DejaVu Sans).
pub(super) fn width(text: &str) -> f64 {
    let one = |character: char| match character {
        'm' | 'w' | 'M' | 'W' | '%' | '@' => 11.6,
        'i' | 'j' | 'l' | 'I' | '.' | ',' | ':' | '\'' | '|' | ' ' | 'f' | 't' | 'r' | '/' => 4.4,
        upper if upper.is_ascii_uppercase() => 8.6,
        _ => 7.5,
    };
    text.chars().map(one).sum()
}

/// Text as it stands in XML and HTML.
#[must_use]
pub fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
