"""Units of quantities, and what stands between the numbers of an item. Only data."""

UNITS = """
    kg kgs g gr gm lb lbs oz l lt ltr ml cl dl m m2 m² m³ qm cm mm km t
    pc pcs pce pieces piece ea each unit units nos no pk pkt pack packs box boxes btl bottle can cans bag bags
    set sets pair license user users night nights
    h hr hrs hour hours day days d std stunde stunden tag tage min month months mo monat monate
    stk stck stück st psch pauschal pal rolle pkg paket fl flasche dose
    pièce pièces pce u unité unités heure heures jour jours mois bouteille
    ud uds unidad unidades pza pzas hora horas día días caja
    pz pezzo pezzi nr n conf ora ore giorno giorni cf
    un unid und peça peças dia dias cx
    stuk stuks uur uren dag dagen doos fles
    szt op kpl godz usł opak mb rbg
    个 個 件 本 枚 点 杯 瓶 份 台 箱 盒 包 袋 斤 式 時間 人 泊 個月 次 张 張 支 只 套
    개 병 잔 권 장 박스 명 식 시간
""".split()
"""Words for what is counted or weighed."""

BETWEEN = "x × * @ = / à a á je per por pro a za cad ea each stk po at of : - + ( ) kr".split()
"""What may stand between the quantity, the unit price and the amount of an item."""
