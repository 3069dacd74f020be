//! The header of an NPY file: a Python dictionary of `descr`, `fortran_order` and `shape`.

use super::element::{Element, Order};
use super::excerpt;
use crate::{Error, Result};

const TYPES: &str = "f2, f4, f8, u1, u2, u4, u8, i1, i2, i4, i8 or b1 with <, > or = before it (| for one byte)";

/// What the header says.
pub(super) struct Header {
    pub(super) element: Element,
    pub(super) order: Order,
    /// Whether the first index changes fastest.
    pub(super) fortran: bool,
    pub(super) shape: Vec<u64>,
}

impl Header {
    /// Parses the text of a header; `name` is the file's.
    pub(super) fn parse(name: &str, text: &[u8]) -> Result<Header> {
        let place = |key: &str| format!("{name}: header: {key}");
        let text = std::str::from_utf8(text)
            .map_err(|_| Error::data(format!("{name}: header"), excerpt(text), "UTF-8 text"))?;
        let mut cursor = Cursor { rest: text, name };
        let (mut descr, mut fortran, mut shape) = (None, None, None);
        cursor.expect("{")?;
        while !cursor.eat("}") {
            let key = cursor.string()?;
            cursor.expect(":")?;
            let again = match key {
                "descr" => descr.replace(cursor.string()?).is_some(),
                "fortran_order" => fortran.replace(cursor.boolean()?).is_some(),
                "shape" => shape.replace(cursor.tuple()?).is_some(),
                _ => return Err(Error::data(place("key"), excerpt(key.as_bytes()), "descr, fortran_order and shape")),
            };
            if again {
                return Err(Error::data(place("key"), format!("{key} twice"), "each key once"));
            }
            if !cursor.eat(",") {
                cursor.expect("}")?;
                break;
            }
        }
        if !cursor.rest.trim().is_empty() {
            return Err(cursor.wrong("the end of the header"));
        }
        let missing = |key: &str| Error::data(place(key), "no such key", "descr, fortran_order and shape");
        let descr = descr.ok_or_else(|| missing("descr"))?;
        let fortran = fortran.ok_or_else(|| missing("fortran_order"))?;
        let shape = shape.ok_or_else(|| missing("shape"))?;
        let (element, order) =
            number(descr).ok_or_else(|| Error::data(place("descr"), excerpt(descr.as_bytes()), TYPES))?;
        Ok(Header { element, order, fortran, shape })
    }
}

/// The element type and byte order that a `descr` such as `<f4` names.
fn number(descr: &str) -> Option<(Element, Order)> {
    let (order, kind) = descr.split_at_checked(1)?;
    let element = match kind {
        "b1" => Element::Bool,
        "u1" => Element::U8,
        "i1" => Element::I8,
        "u2" => Element::U16,
        "i2" => Element::I16,
        "u4" => Element::U32,
        "i4" => Element::I32,
        "u8" => Element::U64,
        "i8" => Element::I64,
        "f2" => Element::F16,
        "f4" => Element::F32,
        "f8" => Element::F64,
        _ => return None,
    };
    match order {
        "<" => Some((element, Order::Little)),
        ">" => Some((element, Order::Big)),
        "=" => Some((element, Order::NATIVE)),
        "|" if element.width() == 1 => Some((element, Order::Little)),
        _ => None,
    }
}

/// What is left of a header to parse. White space before every token is skipped.
struct Cursor<'a> {
    rest: &'a str,
    name: &'a str,
}

impl<'a> Cursor<'a> {
    /// Takes `token` if it comes next.
    fn eat(&mut self, token: &str) -> bool {
        let rest = self.rest.trim_start().strip_prefix(token);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    fn expect(&mut self, token: &str) -> Result<()> {
        if self.eat(token) { Ok(()) } else { Err(self.wrong(token)) }
    }

    /// A string in either kind of quotes, without escapes: none of ours has any.
    fn string(&mut self) -> Result<&'a str> {
        for quote in ["'", "\""] {
            if self.eat(quote) {
                let (string, rest) = self.rest.split_once(quote).ok_or_else(|| self.wrong("a closing quote"))?;
                self.rest = rest;
                return Ok(string);
            }
        }
        // A list here is the type of a structured array.
        Err(self.wrong("a string in quotes"))
    }

    fn boolean(&mut self) -> Result<bool> {
        if self.eat("True") {
            return Ok(true);
        }
        self.expect("False").map(|()| false).map_err(|_| self.wrong("True or False"))
    }

    /// A tuple of whole numbers: `()`, `(3,)`, `(3, 4)`, or `(3L, 4L)` as Python 2 wrote long ones.
    fn tuple(&mut self) -> Result<Vec<u64>> {
        self.expect("(")?;
        let mut numbers = Vec::new();
        while !self.eat(")") {
            let text = self.rest.trim_start();
            let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
            let (digits, rest) = text.split_at(end);
            let number = digits.parse().map_err(|_| self.wrong("a whole number below 2^64"))?;
            numbers.push(number);
            self.rest = rest.strip_prefix('L').unwrap_or(rest);
            if !self.eat(",") {
                self.expect(")")?;
                break;
            }
        }
        Ok(numbers)
    }

    /// The error for what comes next.
    fn wrong(&self, allowed: &str) -> Error {
        Error::data(format!("{}: header", self.name), excerpt(self.rest.trim_start().as_bytes()), allowed)
    }
}
