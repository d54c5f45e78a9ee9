"""Labels of forms that may stand above their values without a colon. Only data, written as in `phrases.py`."""

FORM_LABELS = {
    "en": (
        "name, full name, first name, given name, given names, middle name, last name, family name, surname, "
        "title, maiden name, date of birth, birth date, place of birth, age, gender, sex, nationality, "
        "citizenship, marital status, occupation, profession, job title, position, employer, company, "
        "company name, organisation, organization, department, address, street, street address, home address, "
        "city, town, state, province, county, zip, zip code, postcode, postal code, country, phone, phone number, "
        "telephone, mobile, mobile phone, fax, email, e mail, email address, website, passport no, "
        "passport number, id no, id number, member no, customer no, account no, account number, iban, date, place, "
        "signature, signed, start date, end date, comments, remarks, notes, reason, amount"
    ),
    "de": (
        "name, vorname, nachname, familienname, geburtsname, geburtsdatum, geburtsort, alter, geschlecht, "
        "staatsangehörigkeit, familienstand, beruf, arbeitgeber, firma, abteilung, adresse, anschrift, straße, "
        "strasse, hausnummer, plz, postleitzahl, ort, wohnort, stadt, bundesland, land, telefon, telefonnummer, "
        "handy, mobil, e mail adresse, ausweisnummer, kundennummer, kontonummer, datum, unterschrift, bemerkungen, "
        "anrede, titel"
    ),
    "fr": (
        "nom, prénom, prénoms, nom de famille, nom de naissance, date de naissance, lieu de naissance, âge, sexe, "
        "nationalité, situation familiale, profession, employeur, société, entreprise, service, adresse, rue, "
        "code postal, ville, pays, téléphone, portable, courriel, adresse e mail, numéro client, date, lieu, "
        "signature, remarques"
    ),
    "es": (
        "nombre, nombres, apellido, apellidos, nombre completo, fecha de nacimiento, lugar de nacimiento, edad, "
        "sexo, género, nacionalidad, estado civil, ocupación, profesión, empresa, departamento, dirección, "
        "domicilio, calle, código postal, ciudad, provincia, estado, país, teléfono, móvil, correo, "
        "correo electrónico, dni, fecha, firma"
    ),
    "it": (
        "nome, cognome, nome e cognome, data di nascita, luogo di nascita, età, sesso, nazionalità, cittadinanza, "
        "stato civile, professione, azienda, reparto, indirizzo, via, cap, città, provincia, paese, telefono, "
        "cellulare, codice fiscale, data, firma, note"
    ),
    "pt": (
        "nome, apelido, sobrenome, nome completo, data de nascimento, local de nascimento, idade, sexo, "
        "nacionalidade, estado civil, profissão, empresa, morada, endereço, rua, código postal, cep, cidade, país, "
        "telefone, telemóvel, celular, correio eletrónico, nif, cpf, data, assinatura"
    ),
    "nl": (
        "naam, voornaam, achternaam, voornamen, geboortedatum, geboorteplaats, leeftijd, geslacht, nationaliteit, "
        "burgerlijke staat, beroep, werkgever, bedrijf, afdeling, adres, straat, huisnummer, postcode, plaats, "
        "woonplaats, stad, land, telefoon, telefoonnummer, mobiel, e mailadres, datum, handtekening, opmerkingen"
    ),
    "pl": (
        "imię, nazwisko, imię i nazwisko, imiona, data urodzenia, miejsce urodzenia, wiek, płeć, obywatelstwo, "
        "stan cywilny, zawód, pracodawca, firma, adres, ulica, kod pocztowy, miasto, miejscowość, kraj, telefon, "
        "pesel, nip, data, podpis, uwagi"
    ),
    "zh": (
        "姓名, 名字, 姓, 名, 出生日期, 出生地, 年龄, 年齡, 性别, 性別, 国籍, 國籍, 民族, 婚姻状况, 职业, 職業, "
        "公司, 单位, 部门, 地址, 住址, 邮编, 城市, 电话, 電話, 手机, 手機, 邮箱, 電子郵件, 身份证号, 护照号, 日期, "
        "签名, 簽名, 备注"
    ),
    "ja": (
        "氏名, 名前, お名前, フリガナ, ふりがな, 生年月日, 年齢, 性別, 国籍, 職業, 会社名, 部署, 住所, 郵便番号, "
        "電話番号, 電話, 携帯電話, メールアドレス, 日付, 署名, 備考"
    ),
    "ko": (
        "성명, 이름, 성별, 생년월일, 나이, 국적, 직업, 회사, 회사명, 부서, 주소, 우편번호, 전화, 전화번호, "
        "휴대전화, 이메일, 날짜, 서명, 비고"
    ),
}
