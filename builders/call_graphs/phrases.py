"""What users and assistants say around the calls of a plan; of `[this|that]` one part is chosen each time. Our choice.

{} stands for what is asked for, in the imperative. No line names a tool.
"""

from __future__ import annotations

import random
import re
from collections import Counter

OPENINGS = (
    "[Please|Hi, please|Hello, please|Good morning, please] {}.",
    "[Could|Can|Would|Will] you [|please ]{}?",
    "[Hi|Hello|Hey|Good morning|Good afternoon], [could|can|would] you [|please ]{}?",
    "[I would like|I'd like|I want|I need] you to {}.",
    "[A small favour|One request|A job for today|A quick task|Here is a task|Today's errand]: {}.",
    "[Some help is needed|A hand with something|Help wanted|Something to do|To be done]: {}.",
    "{}.",
    "{}, please.",
    "[Would it be|Is it] possible to {}?",
    "[It would help|It would be great|It would be nice] to have this done: {}.",
    "What [I need|I want|is needed] [today|now|this time] is this: {}.",
    "[Before lunch|This morning|Before the meeting|Before noon|While I am out|By tonight], please {}.",
    "[When there is a moment|As soon as possible|At your convenience|Without hurry], please {}.",
    "[My request|My question|The task|The request|The job] [today|now|for you] is simple: {}.",
    "[There is something|There are things|One thing is left] to [sort out|take care of|arrange]: {}.",
    "[We are|The team is|I am] planning ahead[:|, so please] {}.",
    "[Let's|Let us] get this done: {}.",
    "[Next on|First on|On] [the|today's|my] list: {}.",
    "[A quick one|Quick request|An easy one|Just this]: {}.",
    "[I have|There is|I've got] [a task|something] for you: {}.",
    "[Kindly|Be so kind as to|Be so good as to] {}.",
    "[Sorry to bother you|Nothing urgent|Nothing complicated today|Only a small thing|Routine stuff]: [please |]{}.",
    "[As a favour|For the record|For tomorrow|For a colleague|For a friend], [please |]{}.",
    "[Your help, please|Over to you|Your turn|Assistant]: {}.",
    "[Work|Business|Office] matter: {}.",
    "[This is|It is] about [some errands|a few details|daily business]: {}.",
    "[Today|Now|First of all|To start with] [I need|we need] you to {}.",
    "[The boss|A client|My sister|A neighbour|Somebody] asked for this: {}.",
    "[I am|We are] in [a hurry|a rush|some haste], so [please |just ]{}.",
    "[Could|Can] this be done [today|now|right away|soon]: {}?",
    "[Note|Reminder|Memo|To-do]: {}.",
)
LATER = (
    "[Now|Next] please {}.",
    "[Thanks|Thank you|Great|Good|Perfect]. [Next|Now], {}[.|, please.]",
    "[One more thing|Another thing|One last request|Something else]: {}.",
    "[Thanks|Thank you|Great|Good]. [Could|Can|Would] you [now|also|next] {}?",
    "[That helps|All right|Good to know|Fine|Very good]. [Please|Now please|Then please] {}.",
    "[I also|Now I|Next I] need you to {}.",
    "And [now|then|next], [please |]{}.",
)
THEN = (", then ", ", and then ", " and then ", ", and after that ")
ALSO = (", and ", ", and also ", " and also ")
THEN_NEW = (
    "[Then|After that|Next|Afterwards], [please |]{}.",
    "[With that done|Once that is done|When that is done|That done], {}.",
    "[In a second step|As the next step|Following that|After this], [please |]{}.",
)
ALSO_NEW = ("[Also|In addition|Besides|Apart from that|On top of that], {}.", "[Another thing|Something else]: {}.")
CLOSINGS = ("",) * 7 + (
    "[Thanks|Thank you|Thanks in advance|Many thanks|That is all|That would be great|No rush|Cheers].",
)
CONDITION = (
    "If {0}, {1}; otherwise {2}.",
    "If {0}, [then |]{1}. [If not|Otherwise], {2}.",
    "In case {0}, {1}; else {2}.",
)

PLANNED = (
    "I will {}.",
    "[Let me|I'll|I shall|I can] {}.",
    "[Sure|Certainly|All right|Gladly|Yes|Fine], [I will|I'll|let me] {}.",
    "[Happy|Glad|Off|Time] to {}.",
    "[One moment|Right away|At once]: I'll {}.",
)
FIRST = (
    "[First|To begin with|To start|As a start], [I will|let me|I'll] {}.",
    "[My first|The first] [step is|thing to do is|job is] to {}.",
)
NEXT = (
    "[Now|Next|Then] I will {}.", "[Next|Now], [let me|I'll] {}.", "[What is left is|It remains|Still open is] to {}.",
    "[On to the next part|The next thing|Good]: I will {}.",
)  # fmt: skip
TAKEN = (
    "[With that|With this] I can {}.",
    "[That result lets me|That is what I need to|That is enough to|So I am able to] {}.",
    "[Knowing|Having] that, [I will|let me|I can] {}.",
    "[From there|On that basis|Thus] I [can|will] {}.",
    "[Good|Noted|Understood]: so I [can|will] {}.",
    "[So|Then], [let me|I'll] {}.",
)
TESTED = (
    "[Given that|In view of that|After that result], [I will|I'll|let me] {}.",
    "[That settles it|Then the choice is clear|So that decides it|In that case]: [I will|I'll|let me] {}.",
)
AGAIN = (
    "That call failed, so I will [try it again|make it again|repeat it].",
    "That did not go through; [I will try|let me try|I am trying] [once more|again].",
    "[An error|That was an error], but [one worth|nothing against] [a second try|another attempt].",
    "[It failed|No luck], so [once more|again|a second time].",
)
LOOK = (
    "No answer came, so I will first [check|see] whether that took effect.",
    "It is not clear whether that went through, so I will look before I try again.",
    "Before I repeat that, I will [see|check] whether it was done.",
)
SEEN = (
    "So nothing was changed: {}. I will try again.",
    "It did not take effect, since {}. I will make the call again.",
    "As {}, it is safe to try once more.",
)
FIRST_ATTEMPT = (
    "The first attempt got no answer and had changed nothing: {}.",
    "It took two attempts; after the first, {}.",
)
ANSWERS = ("{}",) * 6 + ("[Done|Here you are|That worked|All set|Here is the result]. {}",)
UNABLE = (
    "I have no [function|tool] with which I could {}.",
    "None of the [functions|tools] I have can {}.",
    "[There is no function here|I lack a function] to {}.",
    "[Unfortunately,|I am afraid|Sorry, but] I cannot {}[, for want of a function| with the tools at hand].",
    "[Unfortunately,|I am afraid|Sorry, but] I cannot {}[: no function here does that|, as no tool covers it].",
    "[It is beyond me to|I am unable to|Nothing here lets me] {}.",
)
REST = (
    "So the rest cannot be done[, either|| without it].",
    "What builds on that has to wait[, too|].",
    "[Without it|Without that], the [other steps|rest] cannot be done.",
)
ASK_BACK = (
    "Which {} do you mean?",
    "[I need one more thing|One thing is missing]: which {} is it?",
    "For that I have to know the {}.",
    "[Before I can do that, which|Which] {} [should I use|shall I take]?",
    "[The {} is missing|You have not named the {}]. [Which one is it|What is it|Could you tell me]?",
)
REPLY = ("It is {}.", "{}, please.", "Sorry, I meant {}.", "[I mean|I was thinking of|Take|Make it|That would be] {}.")
REPEATED = 6  # words of a phrase that no turn says twice

_CHOICE = re.compile(r"\[([^\[\]]*\|[^\[\]]*)\]")


def vary(text: str, rng: random.Random) -> str:
    """The text with one part chosen of each `[this|that]`, from the inside out."""
    while _CHOICE.search(text):
        text = _CHOICE.sub(lambda match: rng.choice(match[1].split("|")), text)
    return text


def repeats(text: str, length: int = REPEATED) -> bool:
    """Whether a phrase of `length` words, parted by blanks, stands in a text twice, case aside."""
    words = text.lower().split()
    found = Counter(tuple(words[n : n + length]) for n in range(len(words) - length + 1))
    return any(count > 1 for count in found.values())
