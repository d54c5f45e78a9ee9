"""Wording of receipts and invoices as shops of six languages print them, for measuring extraction.

Written from the papers themselves, apart from the labels that extraction knows (`modes/phrases.py`,
`modes/sum_words.py`): what is not understood shows in the figures.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Wording:
    """What a language's papers say. `|` parts alternatives; `{rate}` is a percentage, `{n}` a count."""

    shops: str
    goods: str
    services: str
    people: str
    streets: str
    greetings: str
    phone: str
    tax_id: str
    receipt_date: str  # `{date}` and `{time}`
    noise: str  # other lines of receipts
    subtotal: str
    tax: str
    tax_inside: str
    total: str
    due: str
    cash: str
    change: str
    discount: str
    tip: str
    count: str
    invoice_title: str
    number: str
    date: str
    due_date: str
    customer: str
    net: str
    invoice_tax: str
    gross: str
    heads: str  # name, quantity, unit price, amount; `;` parts them
    unit: str
    months: str  # `d` day, `m` month, `y` year, as CLDR is not asked here
    thanks: str


WORDINGS: dict[str, Wording] = {
    "en": Wording(
        shops="Harbour Grocers|The Copper Kettle|Miller & Daughters|Northgate Hardware Ltd|Pine Street Deli",
        goods="Oat biscuits|Sparkling water 1.5L|Rye bread|Cheddar mature|Paper towels 6pk|Olives green|Dish soap",
        services="Roof inspection|Window cleaning|Website maintenance|Translation of manual|Oak shelf, made to measure",
        people="Dana Whitfield|Borough of Eastlake|Quill & Sparrow Publishing|Tom Aldridge",
        streets="14 Mill Lane, Oxford OX1 4PL|221 Harbor Blvd|Unit 7, Forge Estate",
        greetings="WELCOME!|Welcome to our store|*** THANK YOU ***",
        phone="Tel: 01865 555 019|Phone (503) 555-0142|T 020 7946 0958",
        tax_id="VAT Reg No 123 4567 89|GST No: 12-345-678|ABN 51 824 753 556",
        receipt_date="{date} {time}|Date: {date} Time: {time}|Date {date}",
        noise="Cashier: Mia|Order #4471|Table 12|Till 3 Op 17",
        subtotal="Subtotal|SUB-TOTAL|Sub Total:|Merchandise",
        tax="Tax|Sales Tax {rate}%|VAT @ {rate}%|TAX ({rate}%)|HST {rate}%",
        tax_inside="Includes VAT {rate}%|VAT incl. {rate}%|Incl. GST",
        total="TOTAL|Total:|Grand Total|Total Due|Balance Due|AMOUNT DUE",
        due="Amount to pay",
        cash="CASH|Cash tendered|VISA ****4821|Mastercard",
        change="CHANGE|Change due|Change",
        discount="Member discount|Coupon|Promo 2 for 1",
        tip="Tip|Gratuity",
        count="Items sold: {n}|No. of items {n}|Total Qty {n}",
        invoice_title="INVOICE|Tax Invoice|Invoice",
        number="Invoice No.|Invoice #|Invoice number:|Inv. No:",
        date="Invoice date:|Date:|Issue date|Date of invoice:",
        due_date="Due date:|Payment due:|Due on|Please pay by",
        customer="Bill to:|Billed to:|Customer:|Sold to",
        net="Subtotal|Net total|Total excl. VAT|Amount before tax",
        invoice_tax="VAT {rate}%|Sales tax ({rate}%)|Total VAT|GST {rate}%",
        gross="Total|Invoice total|Total incl. VAT|Amount due|Total payable",
        heads="Description;Qty;Unit price;Amount|Item;Quantity;Rate;Total|Details;Hours;Rate;Line total",
        unit="pcs|hrs|each",
        months="d MMM y|MMM d, y|MMMM d, y|d/m/y|y-m-d|d-MMM-yy",
        thanks="Thank you for shopping with us|Please keep this receipt|Come again soon!",
    ),
    "de": Wording(
        shops="Bäckerei Sonnfeld|Getränke Kowalski GmbH|Buchhandlung am Markt|Eisenwaren Huber e.K.|Gasthof Zur Linde",
        goods="Bauernbrot|Apfelschorle 0,5l|Käse Gouda jung|Tomaten Rispe|Küchenrolle|Spülmittel|Bio Eier 10er",
        services="Dachinspektion|Fensterreinigung|Wartung Heizungsanlage|Übersetzung Handbuch|Regal Eiche nach Maß",
        people="Frau Erika Lindner|Stadtverwaltung Ostheim|Quill Verlag GmbH & Co. KG|Herr Thomas Albers",
        streets="Mühlgasse 14, 80331 München|Hafenstr. 221|Am Anger 7",
        greetings="Herzlich willkommen!|Guten Tag|Willkommen bei uns",
        phone="Tel. 089/555 01 42|Telefon: 030 5550142|Tel: 0711-555019",
        tax_id="USt-IdNr.: DE123456789|St.-Nr. 143/123/45678|UID Nr. DE 811 234 567",
        receipt_date="{date} {time}|Datum: {date} Uhrzeit: {time}|Datum {date} {time} Uhr",
        noise="Es bediente Sie: Mia|Bon-Nr. 4471|Tisch 12|Kasse 3 Bed. 17",
        subtotal="Zwischensumme|Zw.-Summe|Netto|Summe netto",
        tax="MwSt. {rate}%|zzgl. {rate}% MwSt|USt {rate} %|Mehrwertsteuer {rate} %",
        tax_inside="inkl. {rate}% MwSt.|enthaltene MwSt {rate}%|darin {rate} % USt",
        total="SUMME EUR|Gesamtsumme|Summe|Endbetrag|Gesamtbetrag|Total|zu zahlen",
        due="Zu zahlen",
        cash="Geg. BAR|Bar|EC-Karte|Gegeben bar|Girocard",
        change="Rückgeld|Rückgeld BAR|Zurück",
        discount="Rabatt|Sofortrabatt|Coupon",
        tip="Trinkgeld",
        count="Anzahl Artikel: {n}|Artikel: {n}|Positionen {n}",
        invoice_title="RECHNUNG|Rechnung",
        number="Rechnungsnummer:|Rechnung Nr.|Rechnungs-Nr.:|Rechnungsnr.|Beleg-Nr.",
        date="Rechnungsdatum:|Datum:|Ausstellungsdatum:|Datum",
        due_date="Fällig am:|Zahlbar bis|Zahlungsziel:|Zahlbar bis zum:|Fälligkeit:",
        customer="Kunde:|Rechnung an:|Rechnungsempfänger:|Auftraggeber:",
        net="Nettobetrag|Zwischensumme|Summe netto|Gesamt netto|Nettosumme",
        invoice_tax="MwSt. {rate}%|zzgl. {rate} % USt.|Umsatzsteuer {rate} %|{rate} % MwSt.",
        gross="Gesamtbetrag|Rechnungsbetrag|Bruttobetrag|Gesamt brutto|Endsumme|Zahlbetrag",
        heads="Bezeichnung;Menge;Einzelpreis;Gesamt|Leistung;Anzahl;E-Preis;Betrag|Artikel;Menge;Preis;Summe",
        unit="Stk|Std|Stück",
        months="d. MMMM y|d.m.y|dd.mm.yy|d. MMM y",
        thanks="Vielen Dank für Ihren Einkauf|Umtausch nur mit Bon|Auf Wiedersehen",
    ),
    "fr": Wording(
        shops="Boulangerie du Pont|Épicerie Lambert|Librairie des Halles|Menuiserie Garnier SARL|Café de la Gare",
        goods="Pain de campagne|Eau gazeuse 1,5L|Comté 12 mois|Tomates grappe|Essuie-tout|Savon liquide|Oeufs bio",
        services="Inspection toiture|Nettoyage des vitres|Maintenance site web|Traduction du manuel|Étagère en chêne",
        people="Mme Claire Fournier|Mairie de Valmont|Éditions Quill SAS|M. Paul Renard",
        streets="14 rue du Moulin, 69001 Lyon|221 quai du Port|7 place Carnot",
        greetings="Bienvenue !|Bonjour et bienvenue|*** MERCI ***",
        phone="Tél. 04 55 50 14 20|Tél : 01.55.50.14.21|Téléphone 0455501420",
        tax_id="SIRET 123 456 789 00012|TVA Intra FR12345678901|N° TVA FR 40 303 265 045",
        receipt_date="{date} {time}|Le {date} à {time}|Date : {date}",
        noise="Caissier : Mia|Ticket 4471|Table 12|Caisse 3",
        subtotal="Sous-total|Total HT|Montant HT",
        tax="TVA {rate}%|TVA ({rate} %)|Montant TVA|T.V.A. {rate}%",
        tax_inside="dont TVA {rate}%|TVA incluse {rate} %|Dont TVA",
        total="TOTAL|Total TTC|TOTAL A PAYER|Net à payer|Montant total|Total EUR",
        due="Reste à payer",
        cash="Espèces|CB|Carte bancaire|ESPECES EUR",
        change="Rendu|Monnaie rendue|A rendre",
        discount="Remise fidélité|Remise|Bon de réduction",
        tip="Pourboire",
        count="Nombre d'articles : {n}|Nb articles {n}|{n} articles",
        invoice_title="FACTURE|Facture",
        number="Facture n°|N° de facture :|Facture N°|Numéro de facture :|Facture no",
        date="Date :|Date de facturation :|Date d'émission|Date de la facture :",
        due_date="Échéance :|Date d'échéance :|À régler avant le|Date limite de paiement :",
        customer="Client :|Facturé à :|Destinataire :|Adressé à",
        net="Total HT|Sous-total HT|Montant HT|Total hors taxes",
        invoice_tax="TVA {rate} %|TVA {rate}%|Total TVA|Montant TVA",
        gross="Total TTC|Montant TTC|Net à payer|Total à payer|TOTAL TTC EUR",
        heads="Désignation;Qté;PU HT;Montant HT|Description;Quantité;Prix unitaire;Total|Libellé;Qté;P.U.;Montant",
        unit="u|h|pce",
        months="d MMMM y|d/m/y|d MMM y|dd/mm/yy|d-m-y",
        thanks="Merci de votre visite|À bientôt|Conservez ce ticket",
    ),
    "es": Wording(
        shops="Panadería La Espiga|Ultramarinos Vega S.L.|Librería del Centro|Ferretería Ibarra S.A.|Bar El Rincón",
        goods="Pan integral|Agua con gas 1,5L|Queso manchego|Tomate rama|Papel cocina|Jabón líquido|Huevos camperos",
        services="Inspección de tejado|Limpieza de cristales|Mantenimiento web|Traducción del manual|Estante de roble",
        people="Sra. Clara Fuentes|Ayuntamiento de Valverde|Editorial Quill S.L.|D. Pablo Reyes",
        streets="C/ Molino 14, 28001 Madrid|Avda. del Puerto 221|Plaza Mayor 7",
        greetings="¡Bienvenidos!|Bienvenido|*** GRACIAS ***",
        phone="Tel. 915 550 142|Teléfono: 955 501 421|Tfno 93 555 01 42",
        tax_id="NIF B12345678|CIF: A-12345678|N.I.F. B98765432",
        receipt_date="{date} {time}|Fecha: {date} Hora: {time}|Fecha {date}",
        noise="Le atendió: Mia|Ticket 4471|Mesa 12|Caja 3",
        subtotal="Subtotal|Base imponible|SUBTOTAL|Importe neto",
        tax="IVA {rate}%|I.V.A. {rate} %|Cuota IVA {rate}%|Impuestos",
        tax_inside="IVA incluido {rate}%|Incluye IVA {rate}%|IVA incl.",
        total="TOTAL|Total a pagar|TOTAL EUR|Importe total|A PAGAR|Total factura",
        due="Pendiente",
        cash="Efectivo|TARJETA BANCARIA|Tarjeta|Entregado",
        change="Cambio|Su cambio|CAMBIO",
        discount="Descuento|Dto. socio|Cupón",
        tip="Propina",
        count="Nº artículos: {n}|Artículos {n}|Total artículos {n}",
        invoice_title="FACTURA|Factura",
        number="Factura nº|Nº de factura:|Número de factura:|Factura Nº:|Nº factura",
        date="Fecha:|Fecha de factura:|Fecha de emisión:|Fecha factura",
        due_date="Vencimiento:|Fecha de vencimiento:|Vence el|Pagar antes del",
        customer="Cliente:|Facturar a:|Facturado a:|Datos del cliente:",
        net="Base imponible|Subtotal|Total sin IVA|Total neto",
        invoice_tax="IVA {rate}%|IVA ({rate} %)|Total IVA|Cuota IVA {rate}%",
        gross="Total|Total factura|Importe total|TOTAL A PAGAR|Total con IVA",
        heads="Concepto;Cantidad;Precio;Importe|Descripción;Cant.;Precio unitario;Total|Artículo;Uds;P. unit.;Importe",
        unit="ud|h|uds",
        months="d de MMMM de y|d/m/y|dd/mm/yy|d-m-y|d MMM y",
        thanks="Gracias por su visita|Hasta pronto|Conserve este ticket",
    ),
    "pl": Wording(
        shops="Piekarnia Kłos|Sklep Spożywczy U Ani|Księgarnia Rynek|Stolarnia Nowak sp. z o.o.|Bar Mleczny Wisła",
        goods="Chleb żytni|Woda gazowana 1,5L|Ser gouda|Pomidory|Ręcznik papierowy|Płyn do naczyń|Jaja 10 szt",
        services="Przegląd dachu|Mycie okien|Opieka nad stroną|Tłumaczenie instrukcji|Regał dębowy na wymiar",
        people="Pani Klara Zielińska|Urząd Miasta Wola|Wydawnictwo Quill sp. z o.o.|Jan Lis",
        streets="ul. Młyńska 14, 00-001 Warszawa|ul. Portowa 221|Rynek 7",
        greetings="Witamy!|Zapraszamy ponownie|Dziękujemy",
        phone="tel. 22 555 01 42|Telefon: 600 555 014|tel: 12-555-01-42",
        tax_id="NIP 123-456-78-90|NIP: 5252525252",
        receipt_date="{date} {time}|Data: {date} Godz. {time}|Data {date}",
        noise="Kasjer: Mia|nr wydr. 4471|Stolik 12|Kasa 3",
        subtotal="Suma częściowa|Razem netto|Netto",
        tax="VAT {rate}%|Podatek VAT {rate}%|PTU A {rate}%|Kwota VAT",
        tax_inside="w tym VAT {rate}%|SUMA PTU|w tym PTU {rate}%",
        total="SUMA PLN|SUMA|Razem|DO ZAPŁATY|Suma: PLN",
        due="Pozostało do zapłaty",
        cash="Gotówka|Karta płatnicza|GOTÓWKA PLN|Karta",
        change="Reszta|RESZTA PLN",
        discount="Rabat|Opust|Kupon rabatowy",
        tip="Napiwek",
        count="Liczba pozycji: {n}|Ilość pozycji {n}",
        invoice_title="FAKTURA|Faktura VAT",
        number="Faktura nr|Nr faktury:|Numer faktury:|Faktura VAT nr",
        date="Data wystawienia:|Data:|Data faktury:|Wystawiono dnia",
        due_date="Termin płatności:|Termin zapłaty:|Płatne do:|Data płatności",
        customer="Nabywca:|Kupujący:|Klient:|Odbiorca:",
        net="Razem netto|Wartość netto|Suma netto|Netto",
        invoice_tax="VAT {rate}%|Kwota VAT|Podatek VAT {rate} %|Razem VAT",
        gross="Razem brutto|Do zapłaty|Wartość brutto|Razem do zapłaty|Suma brutto",
        heads="Nazwa;Ilość;Cena netto;Wartość netto|Opis;Ilość;Cena jedn.;Kwota|Usługa;Liczba;Cena;Wartość",
        unit="szt|godz|szt.",
        months="d MMMM y|d.m.y|y-m-d|dd.mm.yy",
        thanks="Dziękujemy za zakupy|Paragon zachowaj|Do widzenia",
    ),
    "ja": Wording(
        shops="まるや商店|喫茶みどり|山田書店|株式会社北村木工|お食事処さくら",
        goods="食パン|炭酸水|チーズ|トマト|キッチンペーパー|洗剤|たまご10個入",
        services="屋根点検|窓清掃|ウェブ保守|取扱説明書翻訳|本棚製作",
        people="佐藤花子 様|東湖市役所 御中|クイル出版株式会社 御中|田中一郎 様",
        streets="東京都千代田区丸の内1-2-3|大阪市北区梅田2-4|名古屋市中区栄5-6",
        greetings="いらっしゃいませ|毎度ありがとうございます|ご来店ありがとうございます",
        phone="TEL 03-5550-1420|電話 06-5550-1421|TEL:052-555-0142",
        tax_id="登録番号 T1234567890123",
        receipt_date="{date} {time}|日付 {date}|{date}({time})",
        noise="レジ3 担当:みあ|No.4471|テーブル12",
        subtotal="小計|小 計|税抜小計",
        tax="消費税|消費税({rate}%)|外税 {rate}%|消費税等",
        tax_inside="(内消費税等|内税|うち消費税",
        total="合計|合 計|お買上げ合計|ご請求額|お支払合計",
        due="お支払い金額",
        cash="お預り|現金|クレジット|お預かり",
        change="お釣り|おつり|釣銭",
        discount="割引|値引|クーポン値引",
        tip="サービス料",
        count="お買上点数 {n}点|点数 {n}",
        invoice_title="請求書|御請求書",
        number="請求書番号:|請求番号|No.|請求書No.",
        date="請求日:|発行日|日付:|請求日",
        due_date="お支払期限:|支払期限|お支払い期日|振込期限:",
        customer="請求先:|お客様名|宛先:|お客様:",
        net="小計|税抜合計|税抜金額",
        invoice_tax="消費税|消費税({rate}%)|消費税額 {rate}%|消費税等",
        gross="合計|ご請求金額|合計金額|税込合計|お支払金額",
        heads="品名;数量;単価;金額|内容;数量;単価;金額|品目;個数;単価;金額",
        unit="個|時間|式",
        months="y年m月d日|y/mm/dd|y-mm-dd|令和e年m月d日",
        thanks="またのお越しを|ありがとうございました",
    ),
}
