"""The words of lines of sums by what they mean, in the languages that are known.

Only data, written as in `phrases.py`: `sum_labels.py` puts them together, so that `Total Excl. GST` and `Summe ohne
MwSt.` need no entries of their own.
"""

WORDS: dict[str, dict[str, str]] = {
    "subtotal": {
        "en": (
            "sub total, subtotal, sub ttl, goods total, items total, item total, items subtotal, merchandise, "
            "merchandise total, taxable amount, taxable value, taxable"
        ),
        "de": (
            "zwischensumme, zw summe, zwischentotal, warenwert, nettosumme, nettobetrag, steuerpflichtiger betrag, "
            "nettowert, nettoumsatz"
        ),
        "fr": "sous total, base imposable, base ht, base hors taxe, montant hors taxe",
        "es": "sub total, base imponible, base imp, suma parcial, parcial, base",
        "it": "subtotale, sub totale, imponibile, totale parziale, totale imponibile, base imponibile",
        "pt": "sub total, total parcial, base tributável, incidência, base de cálculo, total ilíquido",
        "nl": "subtotaal, tussentotaal, maatstaf, grondslag",
        "pl": "suma częściowa, podsumowanie, wartość netto, kwota netto, podstawa opodatkowania",
        "zh": "小计, 小計, 不含税金额, 未税金额, 未稅, 銷售額, 销售额, 应税额",
        "ja": "小計, 税抜金額, 税抜合計, 税抜, 税抜き, 対象額",
        "ko": "소계, 공급가액, 공급가, 과세물품가액, 과세금액",
        "sv": "delsumma, summa exkl",
        "da": "subtotal, delsum",
        "nb": "delsum",
        "id": "sub total",
        "cs": "mezisoučet",
    },
    "total": {
        "en": (
            "grand total, grand ttl, invoice total, order total, total, ttl, total amount, total price, total sum, "
            "total sales, total bill, bill total, net payable"
        ),
        "de": (
            "gesamtsumme, gesamtbetrag, gesamtpreis, endsumme, endbetrag, rechnungsbetrag, rechnungssumme, "
            "bruttobetrag, bruttosumme, gesamt, summe, total, insgesamt"
        ),
        "fr": "total général, montant total, total, somme",
        "es": "total general, importe total, total factura, total, suma total, suma",
        "it": "totale generale, totale complessivo, totale documento, totale fattura, totale, somma, importo totale",
        "pt": "total geral, valor total, total, total da fatura, soma, montante total",
        "nl": "eindtotaal, totaalbedrag, totaal, factuurbedrag, totale bedrag, eindbedrag",
        "pl": "suma, razem, ogółem, łącznie, suma pln, wartość brutto, kwota brutto, suma całkowita",
        "zh": "价税合计, 合计, 总计, 总额, 總計, 總額, 合計, 總共, 总共, 共计, 共計, 實付, 實收金額, 實付金額",
        "ja": "合計金額, 合計, 総計, 総額, 御請求額, ご請求金額, 請求金額, ご請求額, お買上計, お買上合計, お会計",
        "ko": "합계금액, 총합계, 합계, 총액, 총금액, 총계, 총 금액, 청구금액",
        "sv": "totalt, total, summa, att betala, totalbelopp",
        "da": "i alt, total",
        "nb": "totalt, sum, total",
        "fi": "yhteensä, summa",
        "cs": "celkem, součet",
        "hu": "összesen, végösszeg",
        "tr": "toplam, genel toplam",
        "id": "jumlah, jumlah total, total bayar",
        "ms": "jumlah, jumlah besar",
        "ro": "total, suma",
        "ru": "итого, всего",
        "ar": "المجموع, الإجمالي, الاجمالي, المجموع الكلي",
        "he": 'סה"כ, סהכ',
        "el": "σύνολο",
        "vi": "tổng cộng, tổng tiền, thành tiền",
        "th": "รวม, รวมทั้งสิ้น, ยอดรวม",
        "fa": "جمع, مجموع",
        "hi": "कुल",
    },
    "due": {
        "en": (
            "total due, amount due, amount payable, total payable, balance due, to pay, to be paid, please pay, "
            "total to pay, amount to pay, payable, due now, pay this amount, total amount due, amount owing, "
            "sum due"
        ),
        "de": (
            "zahlbetrag, zu zahlen, zu zahlender betrag, zahlungsbetrag, fälliger betrag, offener betrag, zahlsumme"
        ),
        "fr": "net à payer, à payer, montant dû, reste à payer, total à payer, solde dû, montant à payer, à régler",
        "es": "total a pagar, a pagar, importe a pagar, líquido a pagar, saldo pendiente, monto a pagar",
        "it": "totale da pagare, da pagare, netto a pagare, importo dovuto, totale dovuto, saldo dovuto",
        "pt": "total a pagar, a pagar, valor a pagar, líquido a pagar, total devido",
        "nl": "te betalen, totaal te betalen, te voldoen, openstaand bedrag, verschuldigd bedrag",
        "pl": "do zapłaty, razem do zapłaty, kwota do zapłaty, należność, pozostało do zapłaty, należność ogółem",
        "zh": "应付金额, 应付, 實付, 实付, 实付金额, 應付金額, 應付, 应付总额, 應付總額",
        "ja": "お支払金額, お支払い金額, お支払額, お支払い額, 支払金額",
        "ko": "받을금액, 결제금액, 지불금액, 내실금액, 납부금액, 결제 금액",
        "sv": "att betala",
        "da": "at betale",
        "nb": "å betale",
        "cs": "k úhradě",
        "hu": "fizetendő",
        "fi": "maksettava",
    },
    "amount": {
        "en": "amount, sum, price, value",
        "de": "betrag, wert, preis",
        "fr": "montant, somme, prix",
        "es": "importe, monto, precio, valor",
        "it": "importo, prezzo, corrispettivo",
        "pt": "valor, montante, preço, importância",
        "nl": "bedrag, prijs",
        "pl": "kwota, wartość, cena",
        "zh": "金额, 金額",
        "ja": "金額",
        "ko": "금액",
    },
    "thing": {
        "en": "sales, sale, bill, invoice, order, charge, charges, purchase, fees",
        "de": "rechnung, einkauf, bestellung",
        "fr": "facture, commande, achat",
        "es": "factura, pedido, compra",
        "it": "fattura, documento, ordine",
        "pt": "fatura, compra, pedido",
        "nl": "factuur, aankoop, bestelling",
        "pl": "faktura, zakup, sprzedaż",
        "ja": "お買上げ, お買い上げ, お買上, お支払, お支払い, ご請求, 御請求, 請求, ご利用, 今回",
    },
    "net": {
        "en": "net, nett, net amount, net value, net sales",
        "de": "netto, nettopreis",
        "fr": "ht, h.t., hors taxe, hors taxes, net ht, hors tva, htva",
        "es": "neto, importe neto, sin impuestos",
        "it": "netto",
        "pt": "líquido, valor líquido",
        "nl": "netto",
        "pl": "netto",
        "zh": "不含税, 不含稅, 未税",
    },
    "gross": {
        "en": "gross, gross amount, gross total",
        "de": "brutto, bruttopreis",
        "fr": "ttc, t.t.c., toutes taxes comprises, tvac",
        "es": "bruto",
        "it": "lordo, ivato",
        "pt": "bruto, ilíquido",
        "nl": "bruto",
        "pl": "brutto",
        "zh": "含税, 含稅, 价税",
        "ja": "税込, 税込み, 税込合計, 税込金額",
        "ko": "부가세포함",
    },
    "tax": {
        "en": (
            "sales tax, value added tax, service tax, state tax, city tax, local tax, county tax, consumption tax, "
            "tax, taxes, vat, gst, hst, pst, qst, cgst, sgst, igst, gst hst, tax amount, vat amount"
        ),
        "de": (
            "mehrwertsteuer, umsatzsteuer, mwst, ust, m w st, steuer, steuerbetrag, mwst betrag, ust betrag, "
            "steuern, umst"
        ),
        "fr": "taxe sur la valeur ajoutée, tva, t.v.a., taxe, taxes, tps, tvq, montant tva",
        "es": (
            "impuesto sobre el valor añadido, iva, i.v.a., impuesto, impuestos, igic, igv, cuota iva, cuota, itbis, isv"
        ),
        "it": "iva, i.v.a., imposta, imposte, importo iva",
        "pt": "iva, i.v.a., imposto, impostos, icms, iss, valor do iva",
        "nl": "btw, b.t.w., omzetbelasting, btw bedrag",
        "pl": "podatek vat, podatek, vat, ptu, kwota vat, suma ptu, podatek ptu",
        "zh": "税额, 税金, 增值税, 消费税, 稅額, 稅金, 營業稅, 消費稅, 税, 稅",
        "ja": "消費税等, 消費税額, 消費税, 内消費税, 内税, 外税, 税額, 税",
        "ko": "부가가치세, 부가세, 세액, 부가 가치세, 세금",
        "sv": "moms",
        "da": "moms",
        "nb": "mva, merverdiavgift",
        "fi": "alv",
        "cs": "dph",
        "hu": "áfa",
        "tr": "kdv",
        "id": "ppn, pajak, pb1",
        "ms": "cukai, sst",
        "ro": "tva",
        "ru": "ндс",
        "el": "φπα",
        "vi": "thuế gtgt, thuế, vat",
        "ar": "ضريبة القيمة المضافة, الضريبة, ضريبة",
        "th": "ภาษีมูลค่าเพิ่ม",
    },
    "without": {
        "en": "excluding, excl, exclusive of, exclusive, exc, ex, before, without, w/o, less, pre",
        "de": "exklusive, exkl, ohne, zzgl, zuzüglich, vor",
        "fr": "hors, sans, avant",
        "es": "excluido, excl, sin, antes de, más",
        "it": "escluso, esclusa, escl, senza",
        "pt": "excluído, excl, sem, antes de",
        "nl": "exclusief, excl, zonder",
        "pl": "bez, przed",
        "sv": "exkl",
        "da": "ekskl",
        "nb": "ekskl",
    },
    "with": {
        "en": (
            "including, includes, incl, inclusive of, inclusive, inc, with, w/, after, included, plus, incl of, "
            "of which"
        ),
        "de": (
            "enthält, inklusive, inkl, einschließlich, einschl, enthaltene, enthalten, darin, davon, enth, mit, "
            "nach, incl"
        ),
        "fr": "inclut, compris, comprise, comprises, y compris, inclus, incluse, incluses, dont, avec, après, incl",
        "es": "incluye, incluido, incluidos, incluida, incl, con, inc",
        "it": "include, inclusa, incluso, incl, compresa, compreso, di cui, con, comprensivo di",
        "pt": "incluído, incluídos, incl, com, c/, inclui",
        "nl": "inbegrepen, inclusief, incl, waarvan, met",
        "pl": "z, w tym, zawiera, wraz z",
        "ja": "内, うち",
        "zh": "其中, 包含, 内含",
        "sv": "inkl, varav, därav",
        "da": "inkl, heraf, deraf",
        "nb": "inkl, herav",
    },
}
"""Words of the sums that fields ask for."""
