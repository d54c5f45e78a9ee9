"""The words that documents put before their values, in the languages that are known.

Only data: `labels.py` and `columns.py` find them on a page. Phrases are separated by commas. A blank also matches a
hyphen, an underscore or nothing; case and accents do not matter. Languages are CLDR's: zh has both scripts.
"""

FIELDS: dict[str, dict[str, str]] = {
    "merchant": {
        "en": "merchant, store name",
        "fr": "commerçant",
        "es": "comercio, establecimiento",
        "pt": "estabelecimento",
        "zh": "商户名称, 商户, 店名, 商戶名稱, 商戶",
        "ja": "店舗名, 店名",
        "ko": "상호, 가맹점명",
    },
    "vendor": {
        "en": "vendor, seller, supplier, sold by, from, issued by, company name",
        "de": "verkäufer, lieferant, rechnungssteller, aussteller",
        "fr": "vendeur, fournisseur, émetteur, emetteur",
        "es": "vendedor, proveedor, emisor, razón social",
        "it": "venditore, fornitore, cedente prestatore, cedente, mittente",
        "pt": "vendedor, fornecedor, emitente",
        "nl": "verkoper, leverancier, afzender",
        "pl": "sprzedawca, dostawca, wystawca",
        "zh": "销售方, 供应商, 銷售方, 供應商, 卖方, 賣方",
        "ja": "販売元, 発行元, 売主, 請求元",
        "ko": "공급자, 판매자",
    },
    "customer": {
        "en": (
            "bill to, billed to, invoice to, invoiced to, sold to, ship to, customer name, customer, client, buyer, to"
        ),
        "de": "rechnungsempfänger, rechnung an, kunde, kundin, käufer, empfänger, auftraggeber, an",
        "fr": "facturé à, adressé à, client, acheteur, destinataire",
        "es": "facturar a, facturado a, cliente, comprador, destinatario",
        "it": "fatturare a, intestato a, spett.le, spettabile, cliente, acquirente, destinatario, cessionario",
        "pt": "faturar a, cliente, comprador, destinatário, tomador",
        "nl": "factuur aan, gefactureerd aan, klant, koper, afnemer",
        "pl": "nabywca, kupujący, klient, odbiorca",
        "zh": "购买方, 客户, 購買方, 客戶, 买方, 買方, 客户名称, 购方",
        "ja": "請求先, お客様名, お客様, 宛先, ご請求先",
        "ko": "공급받는자, 고객명, 고객, 구매자",
    },
    "invoice_number": {
        "en": (
            "invoice no., invoice no, invoice number, invoice #, invoice num, invoice id, invoice ref, inv no, "
            "inv #, inv number, bill no, bill number, receipt no, receipt number, receipt #, tax invoice no, "
            "tax invoice number, document no, document number, tax invoice, invoice"
        ),
        "de": (
            "rechnungsnummer, rechnungsnr., rechnungsnr, rechnungs nr, rechnung nr, rechnung nummer, rechnung, "
            "belegnummer, belegnr, beleg nr, re nr, faktura nr"
        ),
        "fr": (
            "numéro de facture, n° de facture, no de facture, n° facture, facture n°, facture no, facture numéro, "
            "facture num, facture, n° de ticket, ticket n°"
        ),
        "es": (
            "número de factura, n° de factura, nº de factura, nº factura, n° factura, núm. factura, "
            "no. de factura, factura nº, factura n°, factura no, factura número, factura núm, factura n.º, "
            "factura, ticket nº"
        ),
        "it": (
            "numero fattura, n. fattura, nr. fattura, n° fattura, fattura n., fattura n°, fattura nr, "
            "fattura numero, fattura no, fattura nº, fattura, numero documento, documento n."
        ),
        "pt": (
            "número da fatura, nº da fatura, n° da fatura, fatura nº, fatura n°, fatura n.º, fatura no, "
            "fatura número, factura nº, nota fiscal nº, nota fiscal n°, nota fiscal, fatura, fatura recibo"
        ),
        "nl": "factuurnummer, factuurnr, factuur nr, factuur no, factuur nummer, factuur, bonnummer, bonnr",
        "pl": (
            "numer faktury, nr faktury, faktura nr, faktura numer, faktura vat nr, faktura vat, faktura, paragon nr"
        ),
        "zh": "发票号码, 发票编号, 发票号, 单号, 發票號碼, 發票編號, 發票號, 單號",
        "ja": "請求書番号, 請求番号, 伝票番号, 領収書番号, 領収書no, 請求書no",
        "ko": "청구서 번호, 송장 번호, 계산서 번호, 영수증 번호, 승인번호",
    },
    "date": {
        "en": (
            "invoice date, bill date, receipt date, date of issue, issue date, date issued, issued on, issued, "
            "sold on, dated, date, date of invoice, transaction date, date of sale, date time"
        ),
        "de": "rechnungsdatum, ausstellungsdatum, belegdatum, kaufdatum, verkaufsdatum, datum",
        "fr": (
            "date de facturation, date de facture, date facture, date d'émission, date de vente, émise le, "
            "émis le, facturé le, date"
        ),
        "es": (
            "fecha de factura, fecha factura, fecha de emisión, fecha de expedición, fecha emisión, "
            "fecha de venta, fecha"
        ),
        "it": "data fattura, data di emissione, data emissione, data documento, emessa il, data di vendita, data",
        "pt": "data da fatura, data de emissão, data da emissão, emitida em, emitido em, data de venda, data",
        "nl": "factuurdatum, datum van uitgifte, uitgiftedatum, bondatum, datum",
        "pl": "data wystawienia, data sprzedaży, data faktury, wystawiono dnia, wystawiono, data",
        "zh": "开票日期, 日期, 開票日期, 开票时间, 發票日期",
        "ja": "請求日, 発行日, 日付, 領収日, お買上日, 取引日",
        "ko": "발행일, 발행일자, 작성일자, 거래일시, 거래일, 날짜, 일자, 일시",
    },
    "due_date": {
        "en": (
            "payment due date, payment due, due date, date due, due on, due by, pay by, payable by, please pay by, "
            "pay before, payment date, due"
        ),
        "de": (
            "fälligkeit, fälligkeitsdatum, fällig am, fällig, zahlbar bis zum, zahlbar bis, zahlungsziel, "
            "zahlungsfrist, zu zahlen bis"
        ),
        "fr": "date d'échéance, échéance, à payer avant le, à régler avant le, date limite de paiement, payable le",
        "es": "fecha de vencimiento, fecha vencimiento, vencimiento, vence el, pagar antes del, fecha límite de pago",
        "it": "data di scadenza, data scadenza, scadenza pagamento, scadenza, da pagare entro, pagare entro il",
        "pt": "data de vencimento, data do vencimento, vencimento, vence em, pagar até, data limite de pagamento",
        "nl": "vervaldatum, uiterste betaaldatum, te betalen voor, betalen voor, betaaltermijn",
        "pl": "termin płatności, termin zapłaty, płatne do, data płatności, zapłata do",
        "zh": "到期日, 付款期限, 到期日期, 付款截止日",
        "ja": (
            "支払期限, お支払期限, 支払期日, お支払期日, お支払い期限, お支払い期日, 支払い期日, 振込期限, 支払い期限"
        ),
        "ko": "지급기한, 납부기한, 납기일, 지불 기한, 결제 기한, 만기일",
    },
    "currency": {
        "en": "currency",
        "de": "währung",
        "fr": "devise, monnaie",
        "es": "moneda, divisa",
        "it": "valuta, divisa",
        "pt": "moeda",
        "nl": "valuta, munteenheid",
        "pl": "waluta",
        "zh": "币种, 幣種, 货币, 貨幣",
        "ja": "通貨",
        "ko": "통화",
    },
}
"""Field -> language -> its labels."""

COLUMNS: dict[str, dict[str, str]] = {
    "position": {
        "en": "pos, pos., position, #, no, no., line, item no, s no, sr no, sl no, s.no.",
        "de": "pos, pos., position, nr, nr., lfd nr",
        "fr": "n°, ligne",
        "es": "nº, línea, pos",
        "it": "pos, n., riga, nr",
        "pt": "item nº, linha",
        "nl": "nr, regel, pos",
        "pl": "lp, lp., l.p., nr",
        "zh": "序号, 序號, 编号",
        "ja": "番号",
        "ko": "순번, 번호",
    },
    "name": {
        "en": (
            "description, item description, item, items, product, article, service, name, particulars, details, goods"
        ),
        "de": "beschreibung, bezeichnung, artikelbezeichnung, artikel, leistung, produkt, text",
        "fr": "description, désignation, libellé, article, produit, prestation",
        "es": "descripción, concepto, artículo, producto, detalle, servicio",
        "it": "descrizione, articolo, prodotto, prestazione, servizio",
        "pt": "descrição, artigo, produto, serviço, designação",
        "nl": "omschrijving, artikel, product, beschrijving, dienst",
        "pl": "opis, nazwa, nazwa towaru, nazwa towaru lub usługi, nazwa usługi, towar, usługa, produkt",
        "zh": "品名, 项目, 商品, 名称, 項目, 名稱, 货物名称, 商品名称, 描述",
        "ja": "品名, 品目, 商品名, 商品, 内容, 項目, 摘要",
        "ko": "품목, 품명, 상품명, 내역, 적요, 상품",
    },
    "quantity": {
        "en": "quantity, qty, qty., count, units, pcs, hours, hrs, days, nos",
        "de": "menge, anzahl, stück, stk, stunden, std",
        "fr": "quantité, qté, qte, nombre, heures",
        "es": "cantidad, cant, cant., uds, unidades, horas",
        "it": "quantità, q.tà, qtà, q.ta, qta, ore",
        "pt": "quantidade, qtd, qtd., qtde, quant, horas",
        "nl": "aantal, hoeveelheid, uren",
        "pl": "ilość, szt, liczba, godziny",
        "zh": "数量, 數量",
        "ja": "数量, 個数",
        "ko": "수량",
    },
    "unit": {
        "en": "uom, unit of measure",
        "de": "einheit, einh, einh., me",
        "fr": "unité",
        "es": "unidad",
        "it": "u.m., um, unità",
        "pt": "un, un., unidade",
        "nl": "eenheid",
        "pl": "j.m., jm, jedn",
        "zh": "单位, 單位",
        "ja": "単位",
        "ko": "단위",
    },
    "unit_price": {
        "en": "unit price, price each, unit cost, price per unit, price unit, rate, unit, each, u price",
        "de": "einzelpreis, e preis, stückpreis, preis pro einheit, einzel, ep",
        "fr": "prix unitaire ht, prix unitaire, pu ht, p.u. ht, p.u., pu, prix unit, prix unit.",
        "es": "precio unitario, precio unit, precio unit., p. unitario, p.u., precio ud, pvp",
        "it": "prezzo unitario, prezzo unit, prezzo unit., p. unitario, prezzo cad",
        "pt": "preço unitário, preço unit, preço unit., valor unitário, p. unit., vl unit",
        "nl": "stukprijs, prijs per stuk, eenheidsprijs, per stuk, prijs per eenheid",
        "pl": "cena jednostkowa, cena jedn, cena jedn., cena netto, cena szt",
        "zh": "单价, 單價",
        "ja": "単価",
        "ko": "단가",
    },
    "rate": {
        "en": "vat %, tax %, vat rate, tax rate, gst %, vat, tax, gst, disc, disc., discount, disc %, discount %",
        "de": "ust, ust %, mwst, mwst %, steuersatz, ust satz, rabatt",
        "fr": "tva, tva %, taux tva, taux, remise",
        "es": "iva, iva %, % iva, dto, dto., descuento",
        "it": "iva, iva %, aliquota, aliquota iva, sconto",
        "pt": "iva, iva %, taxa, desconto",
        "nl": "btw, btw %, btw tarief, korting",
        "pl": "vat, vat %, stawka vat, stawka, rabat",
        "zh": "税率, 稅率, 折扣",
        "ja": "税率, 値引",
        "ko": "세율, 할인, 세액",
    },
    "amount": {
        "en": (
            "line total, total amount, total price, amount, total, price, sum, cost, net amount, ext price, "
            "extended price"
        ),
        "de": "gesamtpreis, gesamt, betrag, summe, preis, nettobetrag, gesamtbetrag, gp",
        "fr": "montant ht, montant, total ht, total ttc, total, prix, prix total, montant total",
        "es": "importe, total, precio, precio total, importe total, subtotal",
        "it": "importo, totale, prezzo, prezzo totale, importo totale",
        "pt": "valor, total, preço, valor total, preço total, montante",
        "nl": "bedrag, totaal, prijs, totaalbedrag, totaalprijs",
        "pl": "kwota, wartość, cena, wartość netto, wartość brutto, razem, suma",
        "zh": "金额, 金額, 小计, 小計, 总价, 總價, 价格, 價格",
        "ja": "金額, 価格, 小計",
        "ko": "금액, 가격, 공급가액, 합계",
    },
}
"""Column of a list of items -> language -> its heads. The English ones name the properties that it fills, too."""

ADDRESSES = {
    "en": "address, billing address, shipping address, delivery address, ship to",
    "de": "adresse, anschrift, rechnungsadresse, lieferadresse",
    "fr": "adresse, adresse de facturation, adresse de livraison",
    "es": "dirección, domicilio",
    "it": "indirizzo, sede",
    "pt": "endereço, morada",
    "nl": "adres",
    "pl": "adres",
    "zh": "地址, 住址",
    "ja": "住所",
    "ko": "주소",
}
"""Labels whose values may go on over several lines."""
