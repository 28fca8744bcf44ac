//! Which language a person reads.

use std::fmt;
use std::str::FromStr;

/// A language of the catalogue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Lang {
    /// English, also the language of every JSON document.
    #[default]
    En,
    /// Simplified Chinese.
    ZhCn,
}

impl Lang {
    /// The language a POSIX locale value asks for (`LC_ALL`, `LC_MESSAGES`, `LANG`, such as
    /// `zh_CN.UTF-8`); English for every language the catalogue lacks.
    pub fn from_locale(locale: &str) -> Self {
        let language = locale.split(['.', '@']).next().unwrap_or_default();
        let is_chinese = language.get(..2).is_some_and(|two| two.eq_ignore_ascii_case("zh"))
            && matches!(language.as_bytes().get(2), None | Some(b'_' | b'-'));
        if is_chinese { Self::ZhCn } else { Self::En }
    }

    /// The tag as `--lang` takes it.
    pub fn tag(self) -> &'static str {
        match self {
            Self::En => "en",
            Self::ZhCn => "zh-CN",
        }
    }
}

impl fmt::Display for Lang {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.tag())
    }
}

impl FromStr for Lang {
    type Err = String;

    fn from_str(tag: &str) -> Result<Self, Self::Err> {
        match tag.to_ascii_lowercase().as_str() {
            "en" => Ok(Self::En),
            "zh-cn" | "zh_cn" | "zh" => Ok(Self::ZhCn),
            _ => Err(format!("no language `{tag}` here; known: en, zh-CN")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_locale_chooses_chinese_only_when_it_names_it() {
        for locale in ["zh_CN.UTF-8", "zh", "zh_TW", "ZH-cn"] {
            assert_eq!(Lang::from_locale(locale), Lang::ZhCn, "{locale}");
        }
        for locale in ["C", "", "en_US.UTF-8", "zha_CN", "de_DE@euro", "中"] {
            assert_eq!(Lang::from_locale(locale), Lang::En, "{locale}");
        }
    }
}
