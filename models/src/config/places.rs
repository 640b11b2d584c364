//! Where the keys of a configuration stand, for complaints about what was read well: the text form and JSON alike.

use std::collections::BTreeMap;

/// The lines of a configuration's keys, counted from 1, by dotted path and by the place of the outermost list's item.
#[derive(Clone, Debug, Default)]
pub(super) struct Places(BTreeMap<(String, usize), usize>);

/// An opened brace or bracket.
struct Opened {
    path: String,
    list: bool,
    item: usize,
}

/// A walk over a text, which need not be well-formed.
#[derive(Default)]
struct Walk {
    places: Places,
    items: BTreeMap<String, usize>,
    opened: Vec<Opened>,
    /// A name that may turn out to be a key, and its line.
    name: Option<(String, usize)>,
    /// The path of the key whose value comes next.
    key: Option<String>,
    line: usize,
}

impl Places {
    /// The places of all keys of a text.
    pub(super) fn of(text: &str) -> Self {
        Walk::over(text).places
    }

    /// The path of the key whose value a text ends with.
    pub(super) fn last_key(text: &str) -> Option<String> {
        Walk::over(text).key
    }

    /// Whether that key stands anywhere.
    pub(super) fn has(&self, path: &str) -> bool {
        self.0.range((path.to_owned(), 0)..).next().is_some_and(|((found, _), _)| found == path)
    }

    /// The line of a key, else of the message that it stands in, else the first.
    pub(super) fn line(&self, path: &str, item: usize) -> usize {
        let mut path = path;
        loop {
            let found = [item, 0].iter().find_map(|&item| self.0.get(&(path.to_owned(), item)));
            match (found, path.rsplit_once('.')) {
                (Some(&line), _) => return line,
                (None, Some((outer, _))) => path = outer,
                (None, None) => return 1,
            }
        }
    }
}

fn is_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

impl Walk {
    fn over(text: &str) -> Self {
        let mut walk = Self { line: 1, ..Self::default() };
        let bytes = text.as_bytes();
        let mut at = 0;
        while at < bytes.len() {
            let start = at;
            at += 1;
            match bytes[start] {
                b'\n' => walk.line += 1,
                b'#' => at += bytes[at..].iter().take_while(|&&byte| byte != b'\n').count(),
                quote @ (b'"' | b'\'') => {
                    let end = start + 1 + super::text::literal(quote, &bytes[at..]);
                    walk.literal(text.get(at..end - 1).unwrap_or_default());
                    at = end;
                }
                b':' => walk.colon(),
                byte @ (b'{' | b'<' | b'[') => walk.open(byte == b'['),
                b'}' | b'>' | b']' => walk.close(),
                b',' | b';' => walk.next(),
                byte if is_name(byte) => {
                    at += bytes[at..].iter().take_while(|&&byte| is_name(byte)).count();
                    walk.name = Some((text[start..at].to_owned(), walk.line));
                }
                _ => {}
            }
        }
        walk
    }

    /// A text in quotes: a name in JSON, and in the text form the name of a map's entry after `key`.
    fn literal(&mut self, text: &str) {
        let entry = self.key.as_ref().and_then(|key| key.strip_suffix(".key"));
        if let Some(map) = entry.filter(|map| *map == "parameters") {
            self.places.note((format!("{map}.{text}"), 0), self.line);
        }
        self.name = Some((text.to_owned(), self.line));
    }

    fn colon(&mut self) {
        let Some((name, line)) = self.name.take() else { return };
        let outer = self.opened.last();
        let path = match outer.map(|outer| outer.path.as_str()) {
            None | Some("") => name,
            Some(outer) => format!("{outer}.{name}"),
        };
        let item = match path.contains('.') {
            true => outer.map_or(0, |outer| outer.item),
            false => self.items.get(&path).copied().unwrap_or_default(),
        };
        self.places.note((path.clone(), item), line);
        self.key = Some(path);
    }

    fn open(&mut self, list: bool) {
        self.colon();
        let outer = self.opened.last();
        let listed = outer.filter(|outer| outer.list).map(|outer| outer.path.clone());
        let item = outer.map_or(0, |outer| outer.item);
        let path = self.key.take().or(listed).unwrap_or_default();
        let outermost = !list && !path.is_empty() && !path.contains('.');
        let item = match outermost {
            true => {
                let items = self.items.entry(path.clone()).or_default();
                *items += 1;
                *items - 1
            }
            false => item,
        };
        self.places.note((path.clone(), item), self.line);
        self.opened.push(Opened { path, list, item });
    }

    fn next(&mut self) {
        self.name = None;
        if !self.opened.last().is_some_and(|outer| outer.list) {
            self.key = None;
        }
    }

    fn close(&mut self) {
        self.opened.pop();
        (self.name, self.key) = (None, None);
    }
}

impl Places {
    /// Notes the first place of a key.
    fn note(&mut self, key: (String, usize), line: usize) {
        self.0.entry(key).or_insert(line);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_found_in_every_form_of_the_text() {
        let text = "name: \"m: {\" # dims: 1\n\
            input [ { name: 'x' },\n\
            { name: 'y'\n dims: [ 1 ] } ]\n\
            output { name: 'z' } output <\n\
            dims: 2 >\n\
            version_policy: { specific {\n versions: [ 1 ] } }\n\
            parameters { key: \"a\" value { string_value: \"1\" } }\n\
            parameters { key: \"b\" value { string_value: \"1\" } }\n";
        let places = Places::of(text);
        let table = [
            ("name", 0, 1),
            ("input.name", 1, 3),
            ("input.dims", 1, 4),
            ("output.name", 0, 5),
            ("output.dims", 1, 6),
            ("output.data_type", 1, 5),
            ("version_policy.specific.versions", 0, 8),
            ("version_policy.latest.num_versions", 0, 7),
            ("parameters.b", 0, 10),
            ("platform", 0, 1),
        ];
        for (path, item, line) in table {
            assert_eq!(places.line(path, item), line, "{path} {item}");
        }
    }

    #[test]
    fn keys_are_found_in_json() {
        let text = "{\n\"max_batch_size\": 4,\n\"input\": [\n{\"name\": \"x\"},\n{\"name\":\n\"y\", \"dims\": [1]}],\n\
            \"parameters\": {\n\"a\": {\"string_value\": \"1\"}}}";
        let places = Places::of(text);
        let table = [
            ("max_batch_size", 0, 2),
            ("input", 0, 3),
            ("input.name", 0, 4),
            ("input.name", 1, 5),
            ("input.dims", 1, 6),
            ("parameters.a", 0, 8),
        ];
        for (path, item, line) in table {
            assert_eq!(places.line(path, item), line, "{path} {item}");
        }
    }

    #[test]
    fn a_text_that_is_no_configuration_is_walked_to_its_end() {
        for text in ["", "]}>", "\"", "{[<", "a:b:{]", "é: é \" é", "[[[[", "'\\"] {
            assert_eq!(Places::of(text).line("input.dims", 3), 1, "{text}");
        }
    }
}
