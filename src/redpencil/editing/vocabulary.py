# ruff: noqa: RUF001
"""Words with which editors talk about a response and their edit of it, in many languages.

These lists only help where the relation of a text to the original leaves a question. None of them is complete.
"""

import re
from typing import Final


def _words(stems: str, ideographic: str = "") -> re.Pattern[str]:
    """Compile beginnings of words, whole words (with a full stop), and words of scripts without spaces."""
    whole = [stem[:-1].replace("_", r"\s+") for stem in stems.split() if stem.endswith(".")]
    begun = [stem.replace("_", r"\s+") for stem in stems.split() if not stem.endswith(".")]
    spaced = rf"\b(?:(?:{'|'.join(whole)})\b|(?:{'|'.join(begun)})\w*)"
    return re.compile("|".join((spaced, *ideographic.split())))


RESPONSE: Final = _words(
    "response answer reply. replies. antwort réponse respuesta risposta resposta antwoord oryginał odpowied ответ "
    "відповід svar. svaret. yanıt cevap vastau válasz odpověd răspuns απάντησ إجاب الإجاب الرد उत्तर जवाब "
    "jawaban câu_trả_lời assistant assistent asistent ассистент",
    "回答 回复 回覆 回應 答案 答复 原文 応答 返答 元の文 답변 응답 원문 助手",
)
"""The response itself."""
TEXT: Final = _words(
    "version. versions. text. the_above. original. originals. оригинал исходн texto testo tekst sentence. "
    "sentences. wording grammar spelling typo. typos. phrasing attempt. satz. satzes fassung versuch entwurf "
    "formulierung rechtschreib grammati tippfehler orthograph ortograf frase oración versión versione versão "
    "wersj zdani "
    "верси текст предложени cümle metin sürüm zin. teksti mening النص نسخة पाठ teks văn_bản",
    "文本 版本 句子 措辞 语法 文章 文法 表現 修正版 문장 텍스트 문법",
)
"""What a response is made of."""
CHANGE: Final = _words(
    "chang edit. edits. edited. editing. revis correct modif adjust improv updat fixed fixes fixing rephras "
    "reword replac clarif polish rewrit rewrote "
    "altered minor. minimal slight unchanged tweak keeps. removed. more_helpful änder geänder "
    "verbesser korrig korrektur "
    "überarbeit anpass "
    "angepasst ersetz ergänz bearbeit berichtig unverändert corrig corriz correz corregi corrección amélior "
    "remplac inchang "
    "retouch cambi reempla sustit mejor actualiz aggiorn miglior sostitu rivist alterei alterad alteraç melhor "
    "mudan mudei "
    "substitu atualiz wijzig gewijzig verbeter gecorrig aangepast vervang vervangen bewerk ongewijzig popraw "
    "zmian zmieni edyt "
    "измен исправ правк улучш отредакт замен змін виправ ändra rättat förbättr redigera rettet endret ændre "
    "forbedr düzelt değiş "
    "iyileş korja muut muok vaihd oprav změn uprav javít módosít diubah perbaik perubah sửa thay_đổi διόρθ "
    "αλλαγ تعديل تصحيح تغيير "
    "عدل صحح सुधार बदल संशोध",
    "修改 更改 改动 修正 更正 改进 改善 调整 润色 编辑 优化 替换 修订 纠正 改为 改成 "
    "変更 訂正 編集 直し 置き換 수정 변경 편집 개선 고쳤 고침 교정 바꿨 바꾸",
)
"""A change of a text."""
SELF: Final = _words(
    "i. i've. i'm. i'd. my. me. ich. habe. mein. meine. j'ai. mon. nous. he_cambi he_correg he_modific ho. eu. "
    "meu. minha. ik. "
    "mijn. я. мы. jag. jeg. ben. minä. tein.",
    "我 私 僕 저는 제가",
)
"""The editor."""
LABEL: Final = re.compile(
    r"\W*\b(?:notes?|nb|p\.?s|explanations?|rationale|summary|comments?|remarks?|hinweis|anmerkung|erläuterung"
    r"|erklärung"
    r"|begründung|nota|remarques?|explications?|explicación|comentario|spiegazione|explicação|opmerking"
    r"|toelichting|uwaga"
    r"|wyjaśnienie|примечание|пояснение|комментарий|huom|注|注意|说明|解释|備考|注釈|補足|참고|설명)\b\W"
)
"""The label of a remark."""
SMALL: Final = frozenset(
    re.findall(
        r"\w+", "a an and are as at be by for from if in is it not of on or so that the this to we with you your"
    )
)
"""Words that nearly any English text has."""
REST: Final = re.compile(
    r"\b(?:rest|remain|same|unchanged|continu|omitted|\u00fcbrig|unver\u00e4nder|reste|resto|restant|inchang|\u043e\u0441\u0442\u0430\u043b\u044c)|\u5176\u4f59|\u6b8b\u308a"
)
"""What stands for the part of a response that was not written out."""
POINTER: Final = re.compile(r"\W*(?:this|that|these|those|it|now|here|everything|all|the\s+rest)\b")
"""The beginning of a sentence that may point at the response."""
OF_TEXT: Final = re.compile(rf"(?:{RESPONSE.pattern}|{CHANGE.pattern}|{TEXT.pattern}|output|result|final|solution)")
"""The name of a block that holds the response."""
THOUGHT: Final = re.compile(
    r"think|thought|reason|analysis|analy[sz]|scratch|reflect|ponder|deliberat|monolog|chain_?of|cot\b|gedanke"
    r"|überleg|denk"
    r"|réflexion|pensée|raisonn|pensami|razonam|pensier|ragionam|мысл|рассужд|размышл|思考|思路|推理|分析|考え|생각"
)
ORIGINAL: Final = re.compile(
    r"\W*(?:the\s+|my\s+)?(?:original|before|vorher|ursprüng|avant|antes|prima|до\b|исходн|原文|修改前|元の)"
)
"""The label of a quotation of the original."""
ROLE: Final = re.compile(
    r"\W{0,4}(?:[aq]|final|output|result|completion|solution|question|instruction|prompt|input|human|user|assistant|system|ai|bot|model|nutzer|benutzer|utilisateur|usuario|用户)\W{0,4}[:：]"
)
"""The label of a turn."""
ANSWER_IS: Final = re.compile(
    r"\W*(?:[^\W\d]+\W+){0,3}(?:answer|antwort|r\u00e9ponse|respuesta|risposta|resposta|antwoord|odpowied\u017a|\u043e\u0442\u0432\u0435\u0442|svaret)"
    r"\s*(?:is|ist|est|es|\u00e8|\u00e9|to|:|[-\u2013\u2014])\s+(?!.*(?:fine|good|great|perfect|helpful|clear|accurate|gut|bon|buen))"
)
"""How a response begins that gives a solution."""
ASSENT: Final = re.compile(
    r"\W*(?:sure(?:\s+thing)?|done|(?:here|there)\s+you\s+go|certainly|absolutely|of\s+course|okay|ok|got\s+it|understood|no\s+problem|gerne?"
    r"|natürlich"
    r"|selbstverständlich|klar|bien\s+sûr|d'accord|claro|por\s+supuesto|certo|certamente|com\s+certeza"
    r"|natuurlijk|конечно"
    r"|хорошо|当然可以|当然|好的|もちろん(?:です)?|はい|承知しました|네|물론(?:입니다|이죠)?)\W*"
)
CLOSING: Final = re.compile(
    r"\W*(?:please\s+)?(?:(?:i\s+)?hope\s+(?:this|that|it|these)|let\s+me\s+know|feel\s+free"
    r"|is\s+there\s+anything|if\s+you\b.{0,20}"
    r"\b(?:need|want|would)|happy\s+to|ich\s+hoffe|bitte\s+sag|lass\s+mich|j'espère|n'hésitez|espero|avísame"
    r"|spero|fammi|hoop"
    r"|mam\s+nadzieję|надеюсь|希望|如果您|如有|请告诉|ご不明|お役に立て|도움이)"
)
"""The beginning of a closing phrase, of the response or of what the editor says."""
REFUSAL: Final = re.compile(
    r"\b(?:sorry|apologi[sz]e|apologies|as\s+an\s+ai|(?:can\s?not|can't|unable\s+to|not\s+able\s+to|won't|will\s+not"
    r"|decline\s+to|refuse\s+to|rather\s+not)\b(?=.*\b(?:help|assist|do\s+(?:that|this)|comply|provide|fulfil|request|edit|modif|chang"
    r"|tell|support|continue|answer|process|discuss|engage))|must.{0,20}decline"
    r"|against\s+my|not\s+comfortable|leider|tut\s+mir\s+leid|bedau(?:re|ere)|désolée?|regrette|ne\s+(?:peux"
    r"|puis)\s+pas"
    r"|lo\s+siento|no\s+puedo|lamento|mi\s+dispiace|non\s+posso|desculpe|sinto\s+muito|não\s+posso"
    r"|het\s+spijt\s+mij|kan\s+ik\s+niet"
    r"|przykro|nie\s+mogę|извин|к\s+сожалению|не\s+могу|на\s+жаль|tyvärr|beklager|desværre|pahoillani"
    r"|valitettavasti|üzgünüm"
    r"|maalesef|sajnál|omlouv|bohužel|maaf|xin\s+lỗi|λυπάμαι)|عذر|آسف|لا\s+أستطيع|क्षमा|माफ|抱歉|对不起|對不起|无法"
    r"|不能(?:协助|帮助|提供)"
    r"|申し訳|できません|죄송|도와드릴\s*수\s*없",
    re.DOTALL,
)
_DONE: Final = (
    r"(?:chang|edit|modif|correc|revis|improv|adjust|änder|korr|verbess"
    r"|anpass|alter|cambi|corre[gcz]|chang|wijzig|aanpas|zmian|popraw|измен|исправ|правк)"
)
NO_CHANGE: Final = re.compile(
    rf"\b(?:no|not|nothing|n't|without|unnecessary|kein\w*|nicht\w*|ohne|aucune?|rien|sans|ningun\w*|ningún|sin"
    rf"|nada|nessun\w*|non"
    rf"|senza|nenhum\w*|sem|geen|niets|bez|nie|żadn\w*|не|нет|без)\b.{{0,40}}\b{_DONE}|n't.{{0,20}}\b{_DONE}"
    r"|\bunchanged\b|\bas[\s-]is\b|\bunverändert|\binchang|\bsin\s+cambios|\bongewijzigd|\bбез\s+изменений"
    r"|\b(?:already|looks?|bereits|schon|déjà|ya|già|já|al|już|уже|перфект)\b.{0,50}\b(?:correct|good|great"
    r"|fine|helpful|perfect"
    r"|accurate|clear|korrekt|richtig|gut|hilfreich|correcte?|bonne?|parfaite?|utile|correct[ao]|buen[ao]"
    r"|perfect[ao]|útil|corrett[ao]"
    r"|buon[ao]|perfett[ao]|corret[ao]|bo[am]|goed|juist|dobr\w*|poprawn\w*|хорош\w*|правильн\w*)\b"
    r"|无需|無需|不需要|没有(?:需要|必要)?.{0,6}(?:修改|更改|改动)|已经(?:很|是|非常).{0,8}|保持不变|保持原样|(?:変更|修正|訂正|編集).{0,6}(?:ありません|不要"
    r"|必要はな|なし)"
    r"|そのまま|すでに|(?:수정|변경).{0,8}(?:없|필요하지)|لا\s+(?:حاجة|يحتاج)|पहले\s+से",
    re.DOTALL,
)
COMMON: Final = frozenset(
    re.findall(
        r"\w+",
        "every everyone everybody everything some someone somebody something none nobody nothing anybody anything "
        "that this with from have they their there these those which were been being into will would could should "
        "about after also because before more most only other over some such than then them very what when where "
        "while your than just here like make made does each both many much must even nicht auch eine einer einen "
        "sind wird werden haben oder aber dass f\u00fcr dans pour avec sont plus para sono della delle nella ",
    )
)
"""Words of four letters and more that do not tell what a text is about."""
