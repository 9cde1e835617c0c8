//! The forms, and the validation of their fields.

use crate::db::Flavour;
use crate::pages::decimal;
use serde::Deserialize;

const LONGEST_NAME: usize = 60;
const LONGEST_DESCRIPTION: usize = 1000;

/// The form for a flavor, with the texts that the visitor has entered. A missing field counts as
/// empty.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct FlavourForm {
    pub(crate) name: String,
    pub(crate) price: String,
    pub(crate) description: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct LoginForm {
    name: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct NoticeForm {
    pub(crate) text: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct SizeForm {
    extra: String,
}

impl SizeForm {
    pub(crate) fn extra_cents(&self) -> Option<u32> {
        cents(self.extra.trim())
    }
}

/// The JSON body of a PUT that replaces a flavor.
#[derive(Debug, Deserialize)]
pub(crate) struct FlavourUpdate {
    pub(crate) name: String,
    pub(crate) description: String,
    pub(crate) price_cents: u32,
}

impl FlavourForm {
    /// Returns the flavor with a slug made from its name, or a message for the visitor.
    pub(crate) fn new_flavour(&self) -> Result<Flavour, &'static str> {
        match slug_of(&self.name).as_str() {
            "" if !self.name.trim().is_empty() => Err("The name needs a letter from a to z."),
            // `/flavours/new` is the form.
            "new" => Err("That name is taken."),
            slug => self.flavour(slug),
        }
    }

    /// Returns the flavor with this slug, or a message for the visitor.
    pub(crate) fn flavour(&self, slug: &str) -> Result<Flavour, &'static str> {
        let description = self.description.trim();
        if description.chars().count() > LONGEST_DESCRIPTION {
            return Err("The description is too long.");
        }
        Ok(Flavour {
            slug: slug.to_owned(),
            name: valid_name(&self.name)?.to_owned(),
            description: description.to_owned(),
            price_cents: cents(self.price.trim()).ok_or("A price looks like this: 3.50")?,
        })
    }
}

impl From<Flavour> for FlavourForm {
    fn from(flavour: Flavour) -> Self {
        Self {
            name: flavour.name,
            price: decimal(flavour.price_cents.into()),
            description: flavour.description,
        }
    }
}

impl LoginForm {
    pub(crate) fn valid_name(&self) -> Result<&str, &'static str> {
        valid_name(&self.name)
    }
}

fn valid_name(name: &str) -> Result<&str, &'static str> {
    let name = name.trim();
    match name.chars().count() {
        0 => Err("The name is missing."),
        1..=LONGEST_NAME => Ok(name),
        _ => Err("The name is too long."),
    }
}

/// Turns `Rum & Raisin` into `rum-raisin`.
fn slug_of(name: &str) -> String {
    let words = name.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    words.collect::<Vec<_>>().join("-").to_ascii_lowercase()
}

/// Parses `3`, `3.5` or `3.50` as cents, up to 9999.99.
fn cents(price: &str) -> Option<u32> {
    let (whole, fraction) = price.split_once('.').unwrap_or((price, "0"));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(whole) || !digits(fraction) || whole.len() > 4 || fraction.len() > 2 {
        return None;
    }
    let tens = if fraction.len() == 1 { 10 } else { 1 };
    Some(whole.parse::<u32>().ok()? * 100 + fraction.parse::<u32>().ok()? * tens)
}
