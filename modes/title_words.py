"""The words at the top of a page that are no name of a merchant. Only data, written as in `phrases.py`."""

DOCUMENTS = {
    "en": (
        "tax invoice, invoice, receipt, sales receipt, bill, cash bill, cash receipt, official receipt, "
        "credit note, original, copy, duplicate, customer copy, merchant copy, simplified tax invoice, order, "
        "order confirmation, quotation"
    ),
    "de": "rechnung, quittung, kassenbon, beleg, kundenbeleg, gutschrift, bon, lieferschein, kopie",
    "fr": "facture, reçu, ticket, ticket de caisse, avoir, duplicata, note",
    "es": "factura, recibo, tique, ticket, factura simplificada, nota de venta, copia",
    "it": "fattura, ricevuta, scontrino, scontrino fiscale, documento commerciale, ricevuta fiscale, copia",
    "pt": "fatura, recibo, talão, fatura simplificada, fatura recibo, nota fiscal, cupom fiscal",
    "nl": "factuur, kassabon, bon, kwitantie, pakbon",
    "pl": "faktura, faktura vat, paragon, paragon fiskalny, rachunek",
    "zh": "收据, 小票, 发票, 收據, 發票, 统一发票, 統一發票, 增值税普通发票",
    "ja": "領収書, 領収証, 請求書, レシート, 納品書, 御請求書",
    "ko": "영수증, 청구서, 세금계산서, 거래명세서, 계산서",
}
"""Names of documents: a line of one of them is a title."""

GREETINGS = {
    "en": "welcome, thank you, thanks, hello, good morning, good evening, have a nice day",
    "de": "willkommen, herzlich willkommen, guten tag, vielen dank, danke, grüezi, hallo",
    "fr": "bienvenue, merci, bonjour",
    "es": "bienvenido, bienvenidos, bienvenidas, gracias, hola, buenos días",
    "it": "benvenuti, benvenuto, grazie, buongiorno",
    "pt": "bem vindo, bem vindos, obrigado, obrigada, bom dia",
    "nl": "welkom, bedankt, dank u, hartelijk welkom, goedendag",
    "pl": "witamy, zapraszamy, dziękujemy, dzień dobry",
    "zh": "欢迎光临, 歡迎光臨, 欢迎, 谢谢, 謝謝, 谢谢惠顾, 謝謝惠顧",
    "ja": "いらっしゃいませ, ありがとうございます, ありがとうございました, 毎度ありがとう",
    "ko": "어서오세요, 감사합니다, 환영합니다",
}
"""What a line begins with that greets."""

FACTS = {
    "en": (
        "tel, telephone, phone, ph, t, fax, mobile, mob, email, e mail, www, http, https, page, cashier, order, "
        "table, server, terminal, vat no, vat reg, vat id, gst no, gst id, gst reg, reg no, tax id, tin, abn, ein, "
        "open, opening hours, time, store, guest, check, operator, till, register, trans, transaction, member, ref"
    ),
    "de": (
        "telefon, telefax, seite, kasse, kassierer, bon nr, beleg nr, es bediente sie, ust id, ust idnr, "
        "ust id nr, steuernummer, steuer nr, st nr, uid, uid nr, filiale, tisch, bedienung, uhrzeit"
    ),
    "fr": "tél, téléphone, siret, siren, tva intra, n° tva, caisse, caissier, ticket, table, page, heure",
    "es": "teléfono, tfno, telf, nif, cif, n.i.f., caja, mesa, página, le atendió, ticket, hora",
    "it": "telefono, p.iva, p. iva, partita iva, c.f., cod fisc, cassa, tavolo, pagina, operatore, ora",
    "pt": "telefone, telef, nif, cnpj, contribuinte, caixa, mesa, página, operador, hora",
    "nl": "telefoon, kvk, btw nr, btw nummer, kassa, tafel, pagina",
    "pl": "telefon, nip, regon, nr wydr, godz, kasa, kasjer, strona, stolik",
    "zh": "电话, 電話, 税号, 統一編號, 收银员, 桌号, 桌號, 单号, 时间",
    "ja": "電話, 登録番号, レジ, 担当, テーブル, no",
    "ko": "전화, 사업자번호, 사업자등록번호, 대표, 테이블",
}
"""What a line begins with that tells a number or a name, behind a colon or not: no merchant, and no item."""
