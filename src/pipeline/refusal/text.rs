//! The texts of refusals, in English and French.

use super::Language;
use crate::model::Reason;

/// Returns the text that the client reads. Where it can help itself, the text says how.
pub(super) fn words(reason: Reason, language: Language) -> &'static str {
    if reason == Reason::TooManySessions {
        return match language {
            Language::English => "You are signed in too many times. Sign out somewhere else, then try again.",
            Language::French => {
                "Vous avez trop de sessions ouvertes. Déconnectez-vous ailleurs, puis réessayez."
            }
        };
    }
    match (language, CertificateFault::of(reason)) {
        (Language::English, CertificateFault::None) if reason == Reason::AuthTooOld => {
            "Please sign in again: this page asks for a recent sign-in."
        }
        (Language::French, CertificateFault::None) if reason == Reason::AuthTooOld => {
            "Veuillez vous reconnecter : cette page demande une connexion récente."
        }
        (_, CertificateFault::None) => text(reason.status(), language),
        (Language::English, CertificateFault::Missing) => "This site needs a client certificate.",
        (Language::French, CertificateFault::Missing) => "Ce site demande un certificat client.",
        (Language::English, CertificateFault::Refused) => "Your client certificate is not accepted here.",
        (Language::French, CertificateFault::Refused) => "Votre certificat client n'est pas accepté ici.",
    }
}

/// What a refusal has to do with the client's certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CertificateFault {
    /// Nothing.
    None,
    /// The client has none.
    Missing,
    /// It is not accepted.
    Refused,
}

impl CertificateFault {
    /// Returns what it is for a reason.
    pub fn of(reason: Reason) -> Self {
        #[expect(clippy::wildcard_enum_match_arm, reason = "all other refusals are about something else")]
        match reason {
            Reason::ClientCertificateMissing | Reason::MemberClientCertificateMissing => Self::Missing,
            Reason::ClientCertificateRefused
            | Reason::MemberClientCertificateRefused
            | Reason::GrantClientCertificate => Self::Refused,
            _ => Self::None,
        }
    }
}

fn text(status: u16, language: Language) -> &'static str {
    match (language, status) {
        (Language::English, 400) => "The request is malformed.",
        (Language::French, 400) => "La requête est mal formée.",
        (Language::English, 401) => "Please sign in.",
        (Language::French, 401) => "Veuillez vous connecter.",
        (Language::English, 403) => "You may not do this.",
        (Language::French, 403) => "Vous n'avez pas accès à cette page.",
        (Language::English, 404) => "There is nothing here.",
        (Language::French, 404) => "Il n'y a rien à cette adresse.",
        (Language::English, 405) => "This method is not allowed here.",
        (Language::French, 405) => "Cette méthode n'est pas permise ici.",
        (Language::English, 408) => "The request took too long.",
        (Language::French, 408) => "La requête a pris trop de temps.",
        (Language::English, 413) => "The body of the request is too large.",
        (Language::French, 413) => "Le corps de la requête est trop grand.",
        (Language::English, 414) => "The address is too long.",
        (Language::French, 414) => "L'adresse est trop longue.",
        (Language::English, 417) => "This expectation cannot be met.",
        (Language::French, 417) => "Cette attente ne peut pas être satisfaite.",
        (Language::English, 421) => "This host is not served here.",
        (Language::French, 421) => "Ce nom d'hôte n'est pas servi ici.",
        (Language::English, 429) => "Too many requests. Please try again later.",
        (Language::French, 429) => "Trop de requêtes. Veuillez réessayer plus tard.",
        (Language::English, 431) => "The head of the request is too large.",
        (Language::French, 431) => "L'en-tête de la requête est trop grand.",
        (Language::English, 502) => "The application did not answer properly.",
        (Language::French, 502) => "L'application n'a pas répondu correctement.",
        (Language::English, 503) => "The service is not available right now.",
        (Language::French, 503) => "Le service n'est pas disponible pour le moment.",
        (Language::English, 504) => "The application did not answer in time.",
        (Language::French, 504) => "L'application n'a pas répondu à temps.",
        (Language::English, 508) => "This request goes round in a circle.",
        (Language::French, 508) => "Cette requête tourne en rond.",
        (Language::English, _) => "Something went wrong.",
        (Language::French, _) => "Une erreur est survenue.",
    }
}

/// The way out for a person who comes back from a sign-in that is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StaleSignIn {
    /// Whether they are signed in.
    pub signed_in: bool,
    /// A path of the realm.
    pub location: String,
    /// A `Set-Cookie` value that remembers that they were sent there; without one, a page offers a link.
    pub again: Option<String>,
}

impl StaleSignIn {
    /// Writes the page.
    pub(super) fn page(&self, language: Language) -> String {
        let (tag, text, link) = match (language, self.signed_in) {
            (Language::English, true) => ("en", "You are already signed in.", "Continue"),
            (Language::French, true) => ("fr", "Votre session est déjà ouverte.", "Continuer"),
            (Language::English, false) => (
                "en",
                "This sign-in cannot be finished: it has been used, was begun elsewhere, or took too long.",
                "Sign in again",
            ),
            (Language::French, false) => (
                "fr",
                "Cette connexion ne peut pas aboutir : elle a déjà servi, vient d'ailleurs, ou a pris trop de temps.",
                "Se reconnecter",
            ),
        };
        // A path has neither quotes nor angle brackets, but `&` and `'`.
        let location = self.location.replace('&', "&amp;").replace('\'', "&#39;");
        format!(
            "<!doctype html>\n<html lang=\"{tag}\"><title>{text}</title>\n<p>{text}</p>\n<p><a href=\"{location}\">{link}</a></p>\n"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_refusal_has_a_text_of_its_own_in_both_languages() {
        for reason in Reason::ALL.iter().filter(|reason| ![499, 500].contains(&reason.status())) {
            for language in [Language::English, Language::French] {
                assert_ne!(text(reason.status(), language), text(0, language), "{reason}");
            }
        }
    }
}
