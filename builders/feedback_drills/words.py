"""Word lists of the drills. Ours; common English words and their Chinese counterparts."""

from __future__ import annotations

from typing import Any

MONTHS = {
    "en": (
        "January", "February", "March", "April", "May", "June",
        "July", "August", "September", "October", "November", "December",
    ),
    "zh": (
        "一月", "二月", "三月", "四月", "五月", "六月",
        "七月", "八月", "九月", "十月", "十一月", "十二月",
    ),
}  # fmt: skip
WEEKDAYS = {
    "en": ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"),
    "zh": ("星期一", "星期二", "星期三", "星期四", "星期五", "星期六", "星期日"),
}
ORDINALS = {
    "en": ("first", "second", "third", "fourth", "fifth"),
    "zh": ("第一", "第二", "第三", "第四", "第五"),
}
# `factor` small units make one large unit.
UNITS: tuple[dict[str, Any], ...] = (
    {"en": ("hours", "minutes"), "zh": ("小时", "分钟"), "factor": 60},
    {"en": ("minutes", "seconds"), "zh": ("分钟", "秒"), "factor": 60},
    {"en": ("days", "hours"), "zh": ("天", "小时"), "factor": 24},
    {"en": ("weeks", "days"), "zh": ("周", "天"), "factor": 7},
    {"en": ("years", "months"), "zh": ("年", "个月"), "factor": 12},
    {"en": ("metres", "centimetres"), "zh": ("米", "厘米"), "factor": 100},
    {"en": ("centimetres", "millimetres"), "zh": ("厘米", "毫米"), "factor": 10},
    {"en": ("kilometres", "metres"), "zh": ("千米", "米"), "factor": 1000},
    {"en": ("kilograms", "grams"), "zh": ("千克", "克"), "factor": 1000},
    {"en": ("litres", "millilitres"), "zh": ("升", "毫升"), "factor": 1000},
)
NOUNS = {
    "en": (
        "apple", "river", "chair", "cloud", "horse", "bread", "stone", "lamp", "tree", "boat",
        "book", "door", "bird", "milk", "snow", "king", "road", "fish", "moon", "bell",
        "rice", "ship", "star", "desk", "rain", "coat", "hand", "ring", "salt", "wolf",
        "leaf", "gold", "hill", "cup", "egg", "key", "sun", "map", "pen", "dog",
    ),
    "zh": (
        "苹果", "河流", "椅子", "云朵", "马", "面包", "石头", "灯", "树", "船",
        "书", "门", "鸟", "牛奶", "雪", "国王", "道路", "鱼", "月亮", "铃铛",
        "米饭", "轮船", "星星", "书桌", "雨", "外套", "手", "戒指", "盐", "狼",
        "叶子", "黄金", "山", "杯子", "鸡蛋", "钥匙", "太阳", "地图", "钢笔", "狗",
    ),
}  # fmt: skip
NAMES = {
    "en": ("Anna", "Ben", "Carl", "Dora", "Emma", "Finn", "Greta", "Hugo", "Ida", "Jack", "Kate", "Leo"),
    "zh": ("小安", "小本", "小陈", "小丁", "小恩", "小方", "小高", "小红", "小伊", "小江", "小康", "小李"),
}
# (right, frequent misspelling)
MISSPELLINGS = tuple(
    tuple(pair.split("/"))
    for pair in """
    receive/recieve believe/beleive separate/seperate definitely/definately necessary/neccessary
    accommodate/accomodate occurred/occured beginning/begining tomorrow/tommorow surprise/suprise
    government/goverment environment/enviroment calendar/calender weird/wierd friend/freind
    achieve/acheive business/buisness until/untill truly/truely argument/arguement
    publicly/publically grammar/grammer embarrass/embarass harass/harrass independent/independant
    existence/existance apparent/apparant relevant/relevent noticeable/noticable
    knowledge/knowlege library/libary February/Febuary Wednesday/Wensday restaurant/restaraunt
    recommend/recomend disappear/dissapear disappoint/dissapoint foreign/foriegn height/heigth
    length/lenght strength/strenght neighbour/nieghbour weight/wieght piece/peice niece/neice
    sincerely/sincerly completely/completly immediately/immediatly unfortunately/unfortunatly
    successful/successfull beautiful/beautifull careful/carefull useful/usefull grateful/greatful
    possession/posession committee/commitee embarrassed/embarased address/adress across/accross
    aggressive/agressive parallel/paralell misspell/mispell millennium/millenium
    occasion/occassion really/realy finally/finaly usually/usualy especially/especialy
    interesting/intresting different/diffrent favourite/favorit temperature/temprature
    vegetable/vegtable chocolate/choclate camera/camara opposite/oposite opportunity/oportunity
    appearance/appearence difference/differance sentence/sentance experience/experiance
    intelligence/inteligence privilege/priviledge rhythm/rythm science/sience muscle/mussle
    tongue/tounge language/langauge island/iland answer/anwser question/qestion
    because/becuase people/poeple water/watter little/littel another/anothor
    remember/rember important/importent together/togather morning/mornning evening/evenning
    mountain/mountian certain/certian captain/captian curtain/curtian bargain/bargin
    minute/minuite building/bilding family/famly animal/animel hospital/hospitle
    medicine/medecine doctor/docter teacher/teecher student/studant history/histery
    """.split()
)
