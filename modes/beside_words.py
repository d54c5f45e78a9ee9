"""The words of the lines beside the sums, which are neither items nor subtotal, tax or total.

Only data, written as in `phrases.py`.
"""

BESIDE: dict[str, dict[str, str]] = {
    "count": {
        "en": (
            "quantity, qty, no of items, number of items, item count, items sold, items, item, pieces, pcs, units, "
            "count, article, articles, lines, points, pts, nights, persons, guests, covers"
        ),
        "de": "anzahl, menge, artikel, stück, positionen, posten, punkte",
        "fr": "quantité, qté, articles, nombre d'articles, nb articles, nb",
        "es": "cantidad, artículos, unidades, núm. artículos, uds",
        "it": "quantità, articoli, pezzi, numero articoli, n. articoli",
        "pt": "quantidade, artigos, itens, qtd, unidades",
        "nl": "aantal, artikelen, stuks, aantal artikelen",
        "pl": "ilość, liczba, sztuk, pozycji",
        "zh": "数量, 數量, 件数, 件數, 件",
        "ja": "点数, 点, 数量, 個数, 買上点数",
        "ko": "수량, 품목수, 건수",
    },
    "discount": {
        "en": "discount, discounts, less discount, coupon, coupons, voucher, promotion, promo, rebate, reduction",
        "de": "rabatt, nachlass, skonto, gutschein, preisnachlass",
        "fr": "remise, remises, réduction, rabais, escompte",
        "es": "descuento, descuentos, dto, bonificación",
        "it": "sconto, sconti, abbuono, buono",
        "pt": "desconto, descontos",
        "nl": "korting, kortingen",
        "pl": "rabat, opust, upust, zniżka",
        "zh": "优惠, 折扣, 優惠, 折讓",
        "ja": "値引, 値引き, 割引, クーポン",
        "ko": "할인, 할인금액, 에누리",
    },
    "saved": {
        "en": (
            "you saved, total savings, total saved, savings, your savings, loyalty points, points earned, "
            "previous balance, balance"
        ),
        "de": "sie sparen, ersparnis, gespart",
        "fr": "vous économisez, économies",
        "es": "ahorro, su ahorro",
        "it": "hai risparmiato, risparmio",
        "pt": "poupança, poupou",
        "nl": "uw voordeel, bespaard",
        "pl": "oszczędzasz",
    },
    "tip": {
        "en": "tip, tips, gratuity, gratuities",
        "de": "trinkgeld",
        "fr": "pourboire",
        "es": "propina",
        "it": "mancia",
        "pt": "gorjeta",
        "nl": "fooi",
        "pl": "napiwek",
        "zh": "小费, 小費",
        "ja": "チップ",
        "ko": "봉사료, 팁",
    },
    "suggestion": {
        "en": "suggested tip, suggested gratuity, suggested, suggestion, suggestions, tip guide, gratuity guide",
        "de": "vorschlag, trinkgeldvorschlag",
        "fr": "suggéré, suggestion, pourboire suggéré",
        "es": "propina sugerida, sugerida, sugerido",
        "it": "suggerito, mancia suggerita",
        "pt": "sugerido, sugerida",
        "nl": "voorgesteld",
    },
    "charge": {
        "en": (
            "service charge, service fee, svc charge, svc chg, serv chg, service, shipping, postage, delivery, "
            "delivery fee, delivery charge, freight, handling, shipping and handling, shipping & handling, "
            "surcharge"
        ),
        "de": "versand, versandkosten, lieferkosten, porto, servicegebühr, bearbeitungsgebühr",
        "fr": "frais de port, livraison, frais de livraison, port, service, frais de service",
        "es": "gastos de envío, envío, portes, servicio, cargo por servicio",
        "it": "spese di spedizione, spedizione, trasporto, servizio, coperto",
        "pt": "portes, portes de envio, envio, taxa de serviço, frete",
        "nl": "verzendkosten, bezorgkosten, servicekosten",
        "pl": "koszt dostawy, dostawa, wysyłka, koszty wysyłki",
        "zh": "服务费, 服務費, 运费, 運費, 加一服務費",
        "ja": "送料, サービス料",
        "ko": "배송비",
    },
    "rounding": {
        "en": "rounding adjustment, rounding adj, rounding, round off, roundoff, rounding amount, rnd adj",
        "de": "rundung, rundungsdifferenz",
        "fr": "arrondi",
        "es": "redondeo",
        "it": "arrotondamento",
        "pt": "arredondamento",
        "nl": "afronding",
        "pl": "zaokrąglenie",
        "sv": "öresavrundning, avrundning",
        "ms": "pelarasan, pembundaran",
        "id": "pembulatan",
        "zh": "抹零, 凑整",
    },
    "paid": {
        "en": (
            "deposit paid, less deposit, deposit received, prepaid, prepayment, advance payment, down payment, "
            "already paid, cash tendered, amount tendered, tendered, tender, cash paid, amount paid, total paid, "
            "paid, cash, credit card, debit card, card payment, card, visa, mastercard, master card, maestro, "
            "amex, american express, debit, credit, eftpos, paypal, apple pay, google pay, payment received, "
            "payment, gift card, cheque, check"
        ),
        "de": (
            "anzahlung, bereits gezahlt, bereits bezahlt, gegeben, bargeld, bar, ec karte, girocard, karte, "
            "kartenzahlung, bezahlt, gezahlt, erhalten, ec cash"
        ),
        "fr": "acompte versé, déjà réglé, espèces, carte bancaire, cb, carte, payé, reçu, réglé, acompte, chèque",
        "es": "anticipo, a cuenta, efectivo, tarjeta, entregado, pagado, recibido, entrega",
        "it": (
            "contanti, contante, carta, bancomat, pagato, ricevuto, carta di credito, acconto, importo pagato, "
            "pagamento"
        ),
        "pt": "dinheiro, numerário, cartão, multibanco, pago, recebido, entregue",
        "nl": "aanbetaling, reeds betaald, contant, pin, pinnen, betaald, ontvangen, bankpas",
        "pl": "zaliczka, gotówka, karta, karta płatnicza, zapłacono, wpłacono, zapłacone",
        "zh": "现金, 實收, 实收, 現金, 刷卡, 信用卡, 微信支付, 支付宝",
        "ja": "お預り, お預かり, お預り金, 現金, クレジット, 預り金",
        "ko": "현금, 신용카드, 받은금액, 받은 금액, 카드",
        "sv": "kontant, kort, betalt, mottaget",
        "da": "kontant, dankort, betalt",
        "nb": "kontant, kort, betalt",
        "id": "tunai, bayar, kartu",
        "ms": "tunai",
    },
    "change": {
        "en": "change due, change",
        "de": "rückgeld, wechselgeld, zurück",
        "fr": "rendu, monnaie rendue, rendu monnaie",
        "es": "cambio, vuelto, su cambio",
        "it": "resto",
        "pt": "troco",
        "nl": "wisselgeld, retour, terug",
        "pl": "reszta",
        "zh": "找零, 找續, 找赎",
        "ja": "お釣り, お釣, おつり, 釣銭",
        "ko": "거스름돈, 거스름",
        "sv": "växel, tillbaka",
        "da": "byttepenge, retur",
        "nb": "veksel, tilbake",
        "id": "kembali, kembalian",
        "ms": "baki",
    },
}

FILLERS = """
    of the for this your in on at to by and & a an is der die das des von den du de la le les l d et y e i da do
    dei della del el los las en em van het een op aan w na za sr zr eur usd gbp approx rate satz taux tasa tarief
    stawka zum zur am im am. only all
""".split()
"""Words between the others that mean nothing."""
