"""Words by which headers name parts of the body, views and modalities, in several languages.

Upper case without accents. Short ones count only by themselves, stems within words too, because
people write PACHEST and THORAXLAT.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from pipeline.radiograph.formats.elements import without_accents

RADIOGRAPHY = re.compile("CR|DX|RG|DR|XR|CXR")
"""The three of DICOM, and what people write instead."""
OTHER_MODALITIES = re.compile(
    "AR|AS|ASMT|AU|BDUS|BI|BMD|CD|CT|CTPROTOCOL|DD|DF|DG|DM|DMS|DOC|DS|DSA|EC|"
    "ECG|EEG|EMG|EOG|EPS|ES|FA|FID|FS|GM|HC|HD|IO|IOL|IVOCT|IVUS|KER|KO|LEN|"
    "LP|LS|M3D|MA|MG|MR|MRI|MS|NM|OAM|OCT|OP|OPM|OPR|OPT|OPTBSV|OPTENF|OPV|OSS|"
    "OT|PLAN|POS|PR|PT|PET|PX|REG|RESP|RF|RTDOSE|RTIMAGE|RTINTENT|RTPLAN|RTRAD|"
    "RTRECORD|RTSEGANN|RTSTRUCT|RWV|SEG|SM|SMR|SPECT|SR|SRF|ST|STAIN|TEXTUREMAP|TG|"
    "US|VA|VF|XA|XAPROTOCOL|XC"
)

# Thoracic spine is no chest: neither THORAC-, nor the Russian and Chinese words beside "spine".
CHEST_STEMS = (
    "CHEST|THORAX|TORAX|TORACE|TORAKS|BRUST(?!W)|BORSTKAS|BROSTKORG|KLATK|HRUDNIK|MELLKAS|GOGUS|"
    "LUNG|PULM|POUMON|POLMON|PŁUC|AKCIGER|ГРУДН\\w* КЛЕТ|ОРГАН\\w* ГРУД|ЛЕГКИ|ЛЕГКОЕ|"
    "胸(?!椎)|肺|흉부|가슴"
)
CHEST_WORDS = "CXR|CXRAY|CHST|THX|THOR|ОГК|T-D3000|51185008|43799004"
PART_STEMS = (
    "ABDOM|SPINE|SPINAL|RACHIS|COLUMNA|COLUNA|COLONNA|WIRBEL|VERTEB|SKULL|SCHADEL|SCHAEDEL|CRANE|"
    "CRANI|PELVI|BECKEN|BASSIN|BACINO|KNEE|KNIE|GENOU|RODILLA|JOELHO|GINOCCHIO|WRIST|ELBOW|SHOULDER|"
    "SCHULTER|EPAULE|HOMBRO|OMBRO|SPALLA|ANKLE|TOBILLO|EXTREMIT|FEMUR|TIBIA|FIBULA|HUMERUS|FINGER|"
    "THUMB|CLAVIC|SCAPULA|STERNUM|RIPPEN|COSTILLA|BREAST|MAMMO|FOREARM|CALCAN|SACRUM|COCCYX|MANDIB|"
    "MAXILL|TOOTH|TEETH|ЖИВОТ|БРЮШН|ЧЕРЕП|ПОЗВОН|КОЛЕНН|ПЛЕЧ|КИСТЬ|КИСТИ|СТОПА|СТОПЫ|БЕДР|"
    "腹|头颅|頭部|颅|脊|腰|颈椎|胸椎|膝|骨盆|복부|척추|두개"
)
PART_WORDS = (
    "ABD|KUB|HEAD|NECK|HIP|HIPS|FOOT|FEET|FUSS|PIED|MANO|HAND|HANDS|LEG|LEGS|ARM|ARMS|RIB|RIBS|TOE|"
    "TOES|HEEL|CSPINE|TSPINE|LSPINE|SSPINE|BWS|HWS|LWS|RADIUS|ULNA|ORBIT|ORBITS|SINUS|SINUSES|"
    "DENTAL|JAW|ТАЗ"
)
FRONTAL_STEMS = (
    "FRONTAL|POSTERO[ -]?ANTERIOR|ANTERO[ -]?POSTERIOR|POSTERIOR-ANTERIOR|ANTERIOR-POSTERIOR|"
    "FRENTE|ПРЯМ|ПЕРЕДН|ЗАДН|正位|後前|前後|后前|前后|정면"
)
FRONTAL_WORDS = (
    "PA|AP|P-A|A-P|FACE|POSTERO|ANTERO|ПЗ|R-10202|R-10206|R-10214|399348003|272479007|260421001"
)
VIEW_STEMS = (
    "(?<!BI)(?<!UNI)(?<!CONTRA)LATERAL(?!ITY)|LATERO|SEITLICH|PROFIL|PERFIL|БОКОВ|BOCZN|BOCNI|ZIJDEL|"
    "SIDOBILD|YAN GRAFI|OLDALIRANY|侧位|側面|側位|侧面|측면|AXIAL|TANGENTIAL"
)
VIEW_WORDS = (
    "LAT|LATL|LATR|LATD|LLAT|RLAT|LL|RL|XTLAT|XTABLE|БОК|R-10228|R-10230|R-10232|R-10236|399067008|"
    "399173006|399198007|386441007|260432000"
)
# Turned or slanted, so that PA or AP beside them changes nothing.
SLANTED_STEMS = "OBLIQ|OBLICU|SCHRAG|КОС(?:АЯ|ОЙ|ЫЕ|ОЕ)|DECUB|SWIMMER"
SLANTED_WORDS = "LLO|RLO|RAO|LAO|RPO|LPO|OBL|LLD|RLD"


def _either(stems: str, words: str = "") -> re.Pattern[str]:
    # Codes have a hyphen within; _ and digits part words as blanks do.
    alone = rf"|(?<![^\W_\d])(?:{words})(?![^\W_\d])" if words else ""
    return re.compile(without_accents(stems + alone))


CHEST = _either(CHEST_STEMS, CHEST_WORDS)
GLUED = re.compile("CHEST|THORAX|TORAX|TORACE|LUNG|CXR")


@dataclass(frozen=True)
class Words:
    """Words for what is wanted and for what is not."""

    _wanted: re.Pattern[str]
    _other: re.Pattern[str]
    _always_other: re.Pattern[str] | None = None

    def wanted(self, said: str) -> bool:
        """Whether bare text names what is wanted."""
        return bool(self._wanted.search(self._parted(said)))

    def other(self, said: str) -> bool:
        """Whether it names something else, perhaps beside it."""
        return bool(self._other.search(self._parted(said)))

    def always_other(self, said: str) -> bool:
        """Whether it names something beside which what is wanted does not count."""
        return bool(self._always_other and self._always_other.search(self._parted(said)))

    def _parted(self, said: str) -> str:
        """PACHEST names a view, which is found once the chest is parted from it."""
        return GLUED.sub(lambda found: f" {found[0]} ", said)


part_words = Words(CHEST, _either(PART_STEMS, PART_WORDS))
view_words = Words(
    _either(FRONTAL_STEMS, FRONTAL_WORDS),
    _either(f"{VIEW_STEMS}|{SLANTED_STEMS}", f"{VIEW_WORDS}|{SLANTED_WORDS}"),
    _either(SLANTED_STEMS, SLANTED_WORDS),
)
