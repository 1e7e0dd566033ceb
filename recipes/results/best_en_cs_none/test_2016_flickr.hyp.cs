Muž v oranžové čepici se dívá na něco.
Oxxér běží na zelené trávě před bílým plotem.
Dívka v karatistickém obleku s klackem před kopanou.
Pět lidí v zimních bundách a helmách stojí ve sněhu, v pozadí je sníh.
Lidé opravují střechu domu.
Muž ve světle zbarveném oblečení fotí skupinu mužů v tmavých oblecích a kloboucích stojí kolem ženy v chrámu.
Skupina lidí stojí před kolem.
Chlapec v červeném dresu se snaží na domácí metu, zatímco ho chytač v modrém dresu se snaží chytit.
Muž pracuje na budově.
Muž ve vestě sedí na židli a drží časopis.
Matka a její mladá matka si užívají v krásný den.
Muži hrají volejbal, jeden hráč s jednou rukou, ale má míč ve vzduchu.
Žena drží mísu jídla v kuchyni.
Muž sedí u stolu s nástrojem ve svém domě.
Tři lidé sedí v jeskyni.
Dívka v džínových šatech jde po lešení.
Blonďatý drží za ruce s mužem v písku.
Žena v šedém svetru a černé kšiltovce stojí v řadě.
Člověk v pruhovaném triku leze na horu.
Dva muži vyrábějí k ženě, zatímco se dívají.
Lidé stojí před budovou.
Teenager hraje na trumpetu na hřišti.
Žena dělá salto na trampolíně na pláži.
Muž stojí u skupiny videohry v baru.
Žena používá vrtačku, zatímco jiný muž fotí.
Žena v růžovém svetru a zástěře čistí stůl songebem.
Muž krájí větve stromů.
Skupina asijských chlapců čeká na maso, aby jí maso přes grilo.
Ženy v tradičním oblečení jdou domorodými životy.
Jeden muž drží druhého muže a připravuje se na úder do obličeje.
Šest lidí jede na horském kole skrz prolézačky.
Dvě blonďaté dívky sedí na římse na přeplněné náměstí.
Dítě cáká ve vodě.
Tři lidé sedí u piknikového stolu před budovou s namalovaným nače.
Tři chlapci stojí na molu v plavkách.
Zaměstnanec podává ženě tašku, zatímco si prohlíží rybu na trhu.
Krásná žena si hraje na harfu.
Letař v uniformě na okraji budovy se dívá na kameru za plotem.
Mladá žena se dívá na pizzy.
Muž bez trička v šortkách stojí na kamenech.
Dívka v záchranné vestě plave ve vodě.
Muž v uniformě a muž v modrém triku stojí před náklaďákem.
Lidé sedí uvnitř vlaku.
Dítě se houpe s nohama v lese.
Muž v červeném triku vstupuje do podniku.
Dva muži, kteří nosí plavky ve vzduchu ve vzduchu, skáčou do vzduchu na pláži.
Batole vaří s dalším člověkem.
Otec a dvě děti pracují venku a dvě děti venku na dvorku, zatímco používají krajinu a sází strom.
Muž vaří jídlo na sporáku.
Muž v džínách na pláži si hraje s červeným míčem.
Lidé jdou po chodníku vedle obchodu.
wakeboardu předvádí salto, zatímco je na rychlostí.
Velká skupina lidí zaplňuje ulici.
Muž na skluzavce jde do vody.
Žena v džínách jde kolem autobusu s reklamou, která se dívá přes sluneční brýle.
Muž v růžovém triku sedí v trávě a míč je ve vzduchu.
Auto zaparkovaná na pláži.
Dva muži v černém ve městě.
Muž ve žlutých kalhotách zvedá ruce.
Dva muži v kloboucích a s tyčemi jdou blízko vodní plochy.
Tým roztleskávaček dělá sestavu na židlích.
Chlapec hraje dámu s dospělým pohledem, zatímco se dívka dívá.
Dav lidí se baví na veřejném parku.
Muž sedí na lavičce a drží svého psa a dívá se na vodu.
Chlapec a jeho mladší bratr si spolu hrají na hřišti.
Žena v modrém koženém koženém kožením a sedí na lavičce za slunečného dne.
Hnědý pes stojí na písečné pláži.
Žena sedí s košem a obklopený látku.
Muž griluje na dvorku.
Žena zpívá v klubu s kytarista za ní.
Kytarista hraje v nočním klubu na červenou kytaru.
Dítě sedí na zahradním křesle a dívá se do objektivu.
Dvě ženy a tři muži se dívají na oceán.
Umělkyně s housle hraje na ulici, zatímco žena s modrou kytaru.
Mladá dívka plave v bazénu.
Několik dětí se připravuje venku, aby se přetahují.
Tři teenageři v metru si hrají okolo.
Hnědý pes jde po trávě s vyplazeným jazykem.
Lidé sedí v trávě před budovou, si dávají pauzu.
Muž bez trička hledí z dálky, zatímco tři žena prochází kolem kavárny.
Dva mladí chlapci dávají ovoce na kole.
Muž v černém triku, kšiltovce a džínách hraje na bubny na žluté bubny.
Mladá umělkyně maluje obrázek ženy na zdi.
Dvě členové týmu týmu USA USA USA předvádí vysoký skok vysoko obklopen dvěma dalšími členy.
Muž míchá hrnec v tomto kuchyni.
Chlapec wakeboarduje na jezeře.
Muž pracuje s párek.
Velká skupina lidí spolu různého věku sedí venku.
Blonďatá žena lije pití na baru.
Malé dítě v modro-bílém triku drží žlutý nábožen.
Žena s růžovými vlasy v černém mluví s mužem.
Muž v japonském obleku připravuje jídlo pro dva lidé.
Dívka skáče přes řeku ze skály.
Dělník s nářadím klečí vedle dvou žen.
Starší muž otevírá své ruce široce a dívá se na ženu.
Dítě v bílém karate cvičí.
Tři muži ve stejných barevných vestách jsou venku.
Žena fotí miminko v růžovém klobouku, zatímco muž nese svůj.
Skupina převážně asijských dětí sedí v modrých židlí.
Mladý chlapec ve fotbalovém dresu pláče do palce.
Šťastná žena se připravuje v kavárně v kavárně.
Stavební dělník řídí těžké vybavení na staveništi.
Žena běží po odpalu v ženském softballu, chytač aby chytač chytač chytač k nohama.
Muž v pracovní uniformě prochází kolem dalšího člověka.
Skupina lidí leze po chladné počasí.
Horský skateboardista se chystá dolů po hoře s modrou helmou.
Muž dělá stojku na vrchu kulatého sochy.
Dítě sedí v restauraci a drží papír proti obličeji.
Hnědý pes se brodí jezerem, aby mohli mohli mohli chud klacek.
Matka utahuje své dvě malé chlapci, aby nabízí ryby z kamenitého břehu do velké modré vody.
Malé dítě jde vedle červeného praporky.
Dívka sedí na ozdobeném kole s mladým chlapcem, zatímco další dívka fotí.
Černý pes hází míček ve vodě.
Muž v bílých kalhotách a modré košili kope do žlutého boxu.
Dva indické muži se účastní obřadu.
Chlapec s cyklem a píší na ruce, který stojí v obchodě s videohry.
Silueta lidi pádlují na kánoji během západu slunce.
Lidé stojí v zaplněném metru a dívají se skrz okno.
Muž šplhá po zdi s ohněm v ruce.
Dva hnědí psi běží sněhem.
Na pódiu před malým členy kapely vystupují na divadle.
Miminko ve vánoční šatech se dívá do objektivu.
Muž sedí vedle počítače.
Tato žena má vtititititititititititi a směje se.
Lidé jsou uvnitř budovy, jeden si fotí.
Čtyři bílí psi s náhubky skáčou přes červenou zeď.
Žena v modrém triku drží miminko.
Dva lidé sedí na pruhované židlích na pláži ve vodě.
Stará žena pracuje na tkalcovském stavu.
Chlapec stojí v popředí a dívá se přes ostatní lidé na hřišti.
Muž v modré bundě sahá po rameni malého chlapce na rameno.
Tři hnědí psi skáčou nahoru na ženu v modrém.
Chlapec visí z taxíku taxi a míjí okno.
Muž v šedém triku skáče přes vrchol písečné duně v poušti.
Dítě ve žlutém triku skáče nahoru a dolů.
Pracovník ve žluté bundě je vysoko do práce na budově.
Muž v brazilském dává informace a mluví s mladými dospělých.
Skupina piva tlačí v baru s vánoční světly na stropu.
Muž vyhodil z útesu nad oceánem.
Muž v černém jde se svým vozem ve sněhu.
V mlze teriér skáče po míči.
Policista v čepici a námořnické uniformě se usmívá, zatímco nosí sluneční brýle před obchodem.
Rodina se prochází v parku.
Muž v zelené přilbě a žluté bezpečnostní vestě se mračí.
Dítě s růžovými provázky tančí na hlavě obklopených balónky.
Pes s nosem si prohlíží něco na řece.
Muž se připravuje na místním dni.
Muž v červeném triku se chystá jí jídlo.
Mladá žena v bílém drží tenisovou raketu.
Chlapec v červeném triku kope do písku se žlutou lopatkou.
Jedinec, který má na sobě chlupatou bundu, hláz na dřevěné lavičce.
Muž v bílém triku se dívá z okna kovové konstrukce.
Žena drží malou bílou sochu.
Šest dětí bez trika si hraje v přírodním vodě a cáká.
Dva lidé jedou na kolech skrz hor.
Dívka skáče přes švihadlo na chodníku poblíž garáže.
Muž v oranžovém triku a helmě.
Malý chlapec si hraje s plastovými kostkami, zvířaty a zvířaty se dívá.
Malá dívka otevírá Vánoční dárek.
Žena v modrém operuje kameru před dvěma dalšími ženami.
Malá dívka se snaží šikikik na hře.
Hnědočerný pes běží po cestě v lese.
Dva psi si hrají u stromu.
námořník v černém kabátě a kalhotách jde po schodech, zatímco se za ní dívá.
Dva muži v zeleném připravují jídlo v restauraci.
Muž v černé kožené čepici a kovbojském klobouku jde kolem renesananananananananananananananananananananananananananananananananananananananananů
Pes běží venku se žlutou hračkou.
Pes v běhu ve sněhu.
Rodina si hraje na pláži se svým psem.
Žena a dítě se objímají, zatímco dítě se zdá.
Dva muži a žena stojí venku.
Skupina mužů používá krk na lodi z vody.
Muž pije pití z vína a čte noviny.
Muž v černém a černém hraje na piano.
Mladý chlapec v modrém dresu a žlutých šortkách hraje fotbal.
Muž stojí na kamenné stavbě s rukama jako pták.
Pes pije vodu na trávě.
Dvě ženy v tílkách se dívají na kameru.
Muž sedí v holičství na židli a připravuje se na jeskyni.
Malé dítě v zelených botách si hraje v blátě.
Muž používá motorovou pilou.
Muž sedí u piknikového stolu s tácem a částečně částečně suší pivo před ním.
Chlapec v černém triku a modrých džínách drží červený pálku.
Tmavovlasý muž v brýlích a havajské košili sedí na trávě.
Pes běží na závodní dráze.
Kapapatý muž s tetováním míří přes místo na balkóně.
Dva Německý ovčák se stříkají na sebe.
Tato skupina lidí stojí kolem nějaké akci.
Hnědo-bílý pes bere hračku.
Muž s bílými vlasy hraje na akordeon uprostřed nějakých budov.
Žena s hnědými vlasy sedí na lavičce před kavárnou.
Muž vedle kola hraje na flétnu.
Dvě děti balancuje na kládě a drží provaz.
Muž na motorce předvádí trik na dráze.
Mladá žena s fialovou látkou se schovává na dřevěné verandě.
Žena v hnědém triku sedí na jasně červené lavičce.
Pes jde po kládě přes malou řeku.
Mladý muž v bílém triku a zelených šortkách stojí na paži.
Skupina lidí je celé deštníky.
Muž propaguje s velkou značkou na svém kole.
Muž hází kládu do vody, zatímco se dva psi dívají.
Skupina starších starších lidí hraje na nástroje pod stanem u vody.
Pohled na rušné městské ulici.
Mladá blondýnka drží bílý provaz ve slunečný den.
Dva lidé v modrých tričkách jsou venku s býkem.
Černý pes hledí nahoru do bazénu.
Kovboj jede vzadu na koni.
Po kolejích předvádí údržbář údržbu na železniční trati.
Pracovník v oranžové vestě používá lopatu.
Dva dělníci mají diskuzi, zatímco pracují na staveništi.
Tři muži vychází z kopce.
Asiatka v květinových šatech pózuje na mostě blízko její družičky.
Mladý muž má na kytaru v kuchyni.
Tři chlapci si hrají s bongami a kyblíky.
Tři stavební dělníci na chodníku.
Lidé se usmívají v lese vedle plechovky.
Skupina sbor je shromážděna v kostele.
Skupina mladých dospívajících skáče v noci a dělá vtitip.
Dva muži jedou na kajaku, jeden v oranžovém, jeden z vody.
Dva dělníci roztahují cement do cihlové budovy.
Žena v červeném svetru a džínách sedí s rukama na kolenech.
Dva pouliční umělci se perou o obecenstvu, který se dívá.
NIk odpočívá a čeká na letišti.
Muž ve žluté bundě obsluhuje oheň, chlapec v rodiče se dívá.
Muž a chlapec na kamenné pláži.
Žena na lodi jménem "ŘEE" kvávávávává věží do vody.
Chlapec sedí a dívá se z mikroskopu.
Mladá bosá dívka v růžových šatech skáče venku.
Mnoho lidí sedí venku před stanem.
Mladík v černém triku s nápisem "SS"" hraje na buben, zatímco sedí a hraje na buben.
Muž prodává věci poblíž silnice na horu.
Dívka ve žlutém se směje na dívku, která má na sobě oranžovou.
Pes skáče přes překážku.
Pes s černým obojkem se válí v blátě.
Dva hnědí psi si hrají v divokém prostředí.
Muž s knírem a vousy drží v ruce.
Muž, který má na sobě kondo-vyklém oblečení, v ringu.
Muž v černém triku rybaří na kamenitém pobřeží.
Dva psi se perou o nos.
Dva muži se zastavují na chodníku, zatímco projíždí kolem auta.
Číňan sedí a čeká na zákazníky.
Tmavé auta s autobusem za nimi.
Dvě ženy v podobných košilích jdou doleva.
Malé dítě v oranžové záchranné vestě drží v modrém kajaku a pádluje na modré kajaku.
Lidé jdou po cestě v parku plném parku.
Tři mladí dospělí mluví v davu lidí, žena se dívají nahoru.
Žena a dítě před dveřmi před řadou domů.
Černoch a jeho dva bílý kamarádi dávají své hlavy blízko sebe.
Dívka v maskáčových kalhotách sedí na vrcholu Humuma.
Světle hnědý pes běží nahoru.
Chlapec pózuje s velkým zeleným v nose na nose.
Plešatý muž se dívá, jak skáče vysoko a černý pes skáče.
Dav na rušném dni.
Chrt s náhubkem ve žlutém a černým běží po trati.
Muž v sandálech sedí na chodníku poblíž nějakých pytlů.
Muž a žena sedí na metě a povídají si.
Dítě se dívá na kávy v obchodě.
Muž pije ze žlutého kelímku na rušné akci.
Chlapec se opírá o auto s kytkami na kapotě.
Žena v květinových šatech mluví s dětmi před dodávkou.
Muž na svém svatebním dni.
Mladá žena v černém triku a džínách zametá.
Žena s kloboukem leze po útesu blízko velké vodní plochy.
Velký černý pudl běží po trávě s hračkou v tlamě.
Chlapec v šortkách dělá trik na skateboardu.
Malý chlapec v červených kalhotách stojí na ulici.
Žena píše zprávu na svém telefonu, zatímco je obklopen deštníky.
Osm mužů hraje na nástroje na pódiu s kytarista ve světlem světla.
Muž v oranžové kombinéze a stejných přilbě pomáhá s modrou hadici.
Muž a dvě dívky ukazují ryby, zatímco drží rybářský prut před vodou.
Muž v červeném triku sleduje psa na dráze.
Chlapec v červenobílých plavkách skáče dozadu v krásných bazénu.
Asiatka upravuje vlasy vlasy vlasy.
Starší žena a malé dítě v růžovém triku si hrají s barevnými kostkami.
Malý černý pes skáče přes ledovou.
Hnědovlasý muž v zeleném triku hraje venku na trumpetu.
Muž mluví do telefonu s nohama.
Skupina dětí sedí na modré podložce, zatímco jí jí jí z misce.
Černý chlapec sedí v písku.
Malý pes sleduje dva velkého psi, jak si hrají na poli.
Lidé sedí v kruhu před velkou budovou.
Jeden pes skáče, aby chytil softballový míček, zatímco se jiný pes dívá.
Blonďaté dítě se houpe na houpačce.
Jeden muž a dvě ženy mají diskuzi přes bílé vína.
Asiat griluje venku jídlo.
Hnědý pes se chystá chytit zelený frisbee.
Indové fandí, zatímco kapela hraje píseň.
Mladý chlapec stojí vedle písečného sochy pyramidu.
Tři malé děti jdou po travnatém dvorku.
Muž skáče na umělecké práci na vozíku.
Muž na kole jede na horském kole.
Chlapec v modrém a žlutých holinách běží po hlíně.
Žena v oranžové bundě sedí na lavičce.
Muž dělá trik na skateboardu.
Muž v uniformě bojového umění ve vzduchu.
Žena prodává zboží na chodníku.
Dva fotbalové týmy jsou na hřišti.
Dítě v modrém triku skáče z lavičky.
Brankář ve žlutém poli před brankou.
Skupina mladých lidí se fotí v mexické prostředí.
Mladý muž skateboarduje z růžového zábradlí.
Mladý chlapec skáče z palmy na menší posteli.
Dva lidé ve zvláštních kostýmech, jeden v kostýmech, jeden modré a druhá fialové, stojí na silnici.
Muž běží v modrém triku s číslem ve tvaru.
Asijský dělník v továrně pózuje pro kameru.
Muž, který vypadá, že běží maraton a dává palec nahoru.
Basketbalový hráč střílí na gól během hry.
Fotbalista v oranžovém dresu se usmívá a drží fotbalový míč.
Dva skateboardisté se dívají z kopce, zatímco se ostatní dívají.
Tým v bílém a zlaté na postraném hřišti.
Malá dívka tlačí své koloběžce po travnatém poli lemované stromy.
Skupina asijských dětí v bílých tričkách a čepicích vystupují s davem a dívají se na něj.
Chodci jdou po ulici a dívají se na dítě v kartonovém krabici.
Hnědý pes běží po písečné pláži.
Dva muži v uniformách stojí vedle ženy.
Dvojice Likána se účastní práce, kde se cílovou vlajkami a zdravotní vlajky.
Cyklista skáče přes překážku.
Pár sedí v bílých zahradních židlích a usmívá se do objektivu.
Malé děti jedou na malém vlaku.
Surfař v modrých plavkách jede na vlnách.
Chlapec skáče na jeho fotbalistu.
Dva mladí muži na fotbalovém míči soupeří o míč na fotbalovém hřišti.
Lidé jdou po dlážděném svahu obklopené čínskými prodavači.
Mladý chlapec v bílých kalhotách skáče z gauče.
Chlapec v oranžovém triku lije Lehu z tašky.
Žena v hnědých sandálech a modrých džínách v bílém triku, drží dítě pod vysokou stromem.
Tři lidé se usmívají a drží politické cedule.
Policista stojí vedle auta na městské ulici.
Dva muži v kloboucích.
Chlapec ve vzduchu se snaží kopnout fotbalový míč.
Mladý chlapec s modrou čepicí má hlavu dolů.
Zrzavá muž s dredy sedí a hraje na akustickou kytaru.
Muž jí sendvič s dcerou na klíně.
Afroamerické dítě drží něco, které je na fotce, jsou v ruce.
Žena u davu lidí s konmimi.
Jezdci diváků v uniformě sledují, jak muž v obleku podává proslov a muž v obleku drží ovoce.
Dav vystavuje v baru.
Dívka v bílém a dívka v zeleném prochází kolem modrého auta.
Muž používá elektronický vybavení.
Člověk surfuje na vlně v oceánu.
Policista zkoumá něco.
Nevěsta a ženich se líbají pod nevěstou.
V pozadí stojí mladý muž s červenou šálou, zatímco mladý muž s červenou šálou přes obličej.
Černo-bílý pes skáče přes prudký překážku na soutěži.
Žena ve svetru čte knihu ve svém domě.
Několik dospívajících se dívá přes zábradlí v temné místnosti.
Muž v bílém triku začíná po skále.
Náctiletý chlapec se protahuje v kuchyni a můžem vidět břicho.
Lidé drží různé typy nicicky na bubny nad různými bubny.
Tři farmářové rýžování na rýžovém poli.
Dvě ženy a muž se dívají na knihu.
Tři děti z nohou zezadu stojí u nepořádek.
Kuchař pózuje na fotografii, zatímco vaří.
Mnoho lidí na ulici protestuje a používající si různé rostliny v pozadí.
Náctiletý skáče z kopce se svým kolem.
Malá dívka běží na břehu pláže.
Bílý kachny šlapuje křídly ve vodě.
Dva muži vypadají, že konverzují, zatímco stojí před nákladními sedadly a čtyři lidé stojí okolo nich.
Žena v růžové sukni drží miminko.
Hokejista ve žlutém dresu hlídá gól.
Muž prochází kolem velké cedule, na kterém je napsáno "EBBS."
Tři chlapci v zelených tričkách a béžových kalhotách pózují na vrcholu skluzavky.
Muž tančí s psem mezi nohama.
Bílý pes běží v mělké vodě.
Oxxxové pochodují s kapelou.
Skupina dětí si spolu hraje na oplocené zahradě a dospělý se dívá.
Skupina žen hraje na hudební nástroje.
Malá dívka ve fialových kostkovaných šatech leží na podlaze a pláče.
Muž sfoukává vlasy s vousy.
Dva černí psi, černé štěně a bílý pes ve sněhu.
Muž v basketbalovém dresu, který skáče, aby vystřelit střelbu.
Žena sedí venku před svým domem a užívá si do vzduchu.
Děti sedí na muže v obleku.
Bílo-bílý pes skáče přes vodu v písku.
Dav se shromáždila kolem fontány v dešti.
Několik starších mužů, někteří v tradičním šátku na rohu ulice.
Mladý hned se dívá na psa ve sněhu.
Fotbalista ve zlatém dresu blokuje míč od protihráče.
Žena v černém triku plete s fialovou přízí.
Čtyři ženy ve zlatých šatech mají na sobě zlaté šaty, zatímco vystupují baletu.
Člověk hraje na mečovou nástroj.
Dívka v černém sportovním oblečení s číslem 10 na dresu běží přes trávu.
Dítě běžkyně přechází lyžích s číslem 533 "krororo."
Starší pán a mladá dívka spolu začíná na puzzle.
Posádka filmuje mladému chlapci ve žlutém triku.
Ulice osvětlený most s cyklisty a nějakými auty.
Muž jede na býkovi na býkovi.
Chlapec skáče, aby trefit tenisový míček s raketou.
Děti se dívají na zeď, zatímco se dva další lidé dívají.
Lidé, kteří jdou po tácování s palmami v pozadí.
Malá dívka kope do černého předmětu v karate.
Dva muži se snaží zaáhnout z vody na chodníku z pneumatiky z pneumatiky.
Dva muži tančí breakdance, s davem se dívají.
profesionálně oblečená žena stojí na pódiu a objednávající něco o něčem o něčem o něčem o něčem o o něčem.
Žena leží na gauči a směje se.
Motokrosový podlahy je nevidě bílé a jedna žena.
Cyklista skáče přes plot.
Tři psi si spolu hrají na poli.
Dvě malé děti jsou na písku.
Usmívající se chlapec si hraje v listí mezi kachny.
Tito čtyři lidé stojí venku a tři psi.
Zatímco na návštěštěštěštěvují rekonooooo, vede následky více atrakce.
Dívka v tričku má na sobě otevřenou pusu.
Čínská skupina naplňuje vodu v poušti.
Muž stojí na městské ulici.
Hromada ptáků létá od jídla v jejich vrcholků.
Dva muži jedou na farmě, zatímco si potřásá přívěsu.
Dva lidé stojí na vrcholu hory.
Mladá dívka se baví a dělá si ve sněhu.
Tři muži se usmívají na kameru a ukazuje své houbu.
Člověk píše na tabuli v prázdném třídě.
Muž v černém triku sedí u stolu s otevřeným laptopem před ním.
Čtyři lidé odpočívají na travnatém kopci s výhledem na kamenné údolí.
Chlapec s skateboardem skáče do vzduchu podél železniční trati.
Muž v oranžovém triku hraje tenis.
Pes s červeným obojkem medvědí zuby na psa s modrým obojkem.
Chlapec si užívá letního dne.
Pracovník v oranžovém pracovním obleku klečí a prohlíží si kus techniku.
Muži v kovbojských kloboucích stojí na rodeu.
Jsou tam dva psi ve sněhu a jeden má něco v puse.
Zaměstnanec si dává pauzu od práce, aby si dává pití.
Béžový pes běží za bílým psem a drží žlutou hračku.
Hokejista v bílém dresu s klackem.
Muž v bílém triku se zlatou sleduje s cirkou.
Černý kůň strká hlavu skrz plot a snaží se do trávě.
Poblížba se před tím, který udržuje dří rukama, ale porně kouří.
Dva muži a dívka se smějí.
Dítě se naklání nad výlohou z modré a žluté plastové plastové, zatímco dospělý se dívá.
Černý pes jde po sněžném povrchu, který jde po sněžném míči.
Mladá dívka stojí vedle žlutého kočku na kuchyňském pultu.
Dvě děti si hrají na hřišti.
Tenista v zeleném pruhovaném triku drží ruku do pusy.
Chlapec v červeném obleku si hraje ve vodě.
Dítě v červeném kabátě a kšiltovce drží velký sníh.
Dva policisté v oranžových bundách stojí venku před bílým stanem.
Dva lidé stojí vedle stromu na zemi.
Dva muži sedí u kamenné budovy.
Dítě s brýlemi drží blonďaté dítě v červeném svetru a žlutých botách.
Černobílý pes si hraje s bílým míčem.
Dva lidé se líbají na chodníku před limetmetkou, zatímco lidé jdou kolem.
Žena hraje volejbal.
Dva velcí psi se perou v hlíně.
Hnědý pes skáče přes překážku.
Muž v pruhovaném triku kouří cigaretu na ulici.
Malá dívka drží malého chlapce na klíně.
Muž se snaží na krásném býku na krásný býkovi.
Děti se perou, aby se přetahují o pálku.
Cyklista se opírá o horském kole po dráze.
Dva lidé a věžají krávu v domě.
Mladý chlapec se učí jak jede na kole se svým otcem.
Chlapec v červeném triku a černých šortkách zametá příjezdové cestu.
Afroamerická rodina stojí před nějakými domy.
Muž hraje na nástroj vedle stromu.
Dvě ženy drží za ruce nad stolem a usmívají se do objektivu.
Pes jde po trávě.
Baseballový hráč v černém tričku právě vypl z hráče v bílém triku.
Žena drží velkou dámu provávávává Basketbal.
Dva psi, jeden s tenisovým míčkem v puse, běží vysokou trávou.
Dva dospělí a dvě děti sedí na lavičce v parku.
Žena v travnatém poli fouká fouká na kolotoči.
Muž prodává skupinu lidí brambů.
Skupina lidí na ulici se shromáždil, aby mohl poslouchá na akordeon.
Muž sedí na lavičce a pomáhá jeho iPod.
Starý muž v těžkém oblečení leží v tlumeném oblečení a čte si noviny.
Starší muž v brýlích připravuje maso.
Muž předvádí trik na kole na pedály, zatímco stojí na pedály.
Muž dělá na pláži písečnou sochu.
Několik lidí v parku jí u piknikového stolu.
Dvě ženy připojují strom na nějakém stavbě.
Kovboj v rodeu se snaží, že se osamit druhému.
Pes skáče skrz šampák.
Obézní žena s dlouhými černými vlasy v růžovém triku s jmenovkou.
Muž spravuje malou holčičku na kole.
Dvě dívky ve slavnostních sukních tančí před nějakým muzikanti na ulici.
Žlutý pes nese klacek u vody.
Dívka ve svetru cucá slunce.
Horský koncert se koná.
Tři ženy v zářivých barvách a čelenkách drží nepořádlé karty.
Hnědý pes hrabe v hlíně.
Mladý chlapec v bílém pruhovaném triku a čelence drží tenisovou raketu.
Dva psi běží od kamery v lese.
Dívka si hraje ve fontáně.
Tři mladí sumo zápas stojí a poslouchá ze dvoupatrovců.
Dva turisté se dívají na kládu u kraje lesa.
Tři hráči sráží protihráče na zemi.
Dva chlapci přechází ulici ve městě, zatímco kope do červeného fotbalového míče.
Muž drží dalšího s záda.
Bílý pes na okraji hory se otáčí, aby něco z nich je v pozadí.
Chlapec jede na skateboardu na rampě.
Dlouhovlasý muž hraje na piano.
Tři atleti drží figury stojí na vítězství.
Dva plešatci v červených šatech.
Mladý chlapec visí na hradě s oblečením.
Malá dívka v růžovém drží baru.
Muž v zeleném skáče o své motorky na své motorce.
Žena si hraje s dvěma malými chlapci v parku.
Čtyři lidé hrají fotbal na pláži.
Dvě puberťáci se objímají, jedna má na sobě helmu, s cyklisté v pozadí.
Dva středně velcí psi běží přes sníh.
Žena stojí na zeleném poli a drží bílý psa.
stůl plný obrázků na venkovním trhu.
Dva lidé sedí u stolu u zdi a dělají obličeje.
Dva muži s piercingy v bradkách se usmívají.
Dítě leží na béžovém koberci a směje se.
Muž a žena s rozpaženýma rukama sedí a všichni jsou celá nahoru.
Dvě ženy s bahnem bojují v bazénu.
Muž v bílém triku jde s nápojem v ruce.
Silueta lidí proti jezeru od jezera, který sbírá pomalovaný oblohou.
Několik lidí sedí u stolu ve formálním oblečení.
Dvě dívky (jeden v modrém, jedna v růžovém a druhá v růžovém závodí na kolečkových bruslích.
Čtyři lidé sedí na hromadě kamenů.
Skupina lidí triky na motorce.
Cyklista v závodní výstroji jede lesem.
Muž v zeleném triku jde po pláži a nese si tenis.
Několik mužů stojí kolem historického auta.
Dva muži pracují pod kapotou bílého auta.
Děti skáčou z kraje do bazénu.
Muž na kraji zdi se chystá na podzim.
Žena v pruhovaném oblečení na kole.
Dívka v černém pózuje pro kameru.
Muž v šortkách stojí u vody.
Čtyři černí muži sedí na schodech kostela.
Jeřáb mezi hromadou sutů.
Gymnastka v červeno-bílém mezi točí na baru.
Starší dáma v zeleném svetru sbírá zeleninu.
Dva muži vyrábí věci v dílně s nářadím.
Učitelka v bílém a malá dívka ve žlutých šatech si hrají s budovou.
Malé dítě spí v posteli s otevřenou knihou na hrudi.
Žena jí v trávě na krásném dni.
Muž jde po dlážděné ulici vedle budova s pomalovanými červenými holí.
Žena v klobouku s chlebem.
Osamocený žena používá velkou národní konek a dek, aby se pokus o o o otlll květinu, když stojí v květinovém hřišti.
Muž v karate vystupuje před dvěma porotci.
Muž ve formálním oděvu hraje na piano na chodníku ve městě.
Starší muž sedí na židli a jí nějaké svačí.
Žena v bílém triku pracuje za pultem v kavárně.
Muž v pracovním oblečení stojí na zadní části nákladního auta.
Dvě děti se dívají na koně skrz malý plot.
Velice s okenřenou na které je namalovaná design.
Žena v jasně růžové bundě skáče přes obličej, která má na sobě fialový pláštěnce, zatímco stojí před Zákazník.
Kovboj objímá svou ruku s kapelou.
Muž ve žlutém triku a muž v tmavě modrém triku mluví.
Tři asijští děti sedí na gauči s chodci visí v pozadí.
Dívka v červeném tričku skáče do míčku.
Muž pózuje se zeleným jeřábem.
Muž s lahvými lahvemi, zatímco se usmívá v restauraci.
Muž nakládá náklaďák s spoustou pečů.
Muž v černé bundě hraje na kytaru ve veřejném prostranství.
Skupina tancuje v průvodu.
Muž stojí na skalnatém útesu s výhledem na vodu.
Policajti sledují ženu z autobusu.
Dva policisté středního věku sledují parkoviště v noci.
Dva muži v modrých tričkách se dívají na fotbalový zápas.
Skupina mužů v modrých uniformách stojí spolu.
Mladá žena dělá jógu na pláži.
Velký dav lidí stojí v parku a několik hraje na hudební nástroje.
Muž s balónkem z balónků.
Muž griluje maso na venkovním jámě.
Dva muži prodávají ovoce na trhu ovoce.
Bruneta v bílých bikinách lije nápoj do muže.
Chlapec ve slunečních brýlích běží za pouti.
Muž v rukavicích drží něco, co vypadá, co vypadá, že je u kládu.
Muž v kostkované košili ukazuje z černé rukavice.
Dva muži v bílých plastových židlích sedí ve dveřích.
Mladá dívka v červených šatech má na sobě černou čepici.
Muž v červeno-bílém fotbalovém dresu stojí na hřišti a bez žlutá fotbalový míč.
Lidé skáčou přes horu na laně.
Lidé se dívají, když běží maraton kolem.
Lidé na laptopech před velkou oknem.
Žokej na rušné práci v práci, zatímco světlých světlo na něj.
Muž v rukavicích nese kukuřici skrz pole.
Fotka zrcadle v kavárně.
Muslimská žena drží balónky na akci.
Žena sedí ve středním věku v prostoru s kočku a dvěma králíky.
Žena sedí u cihlové zdi uvnitř budovy.
Tři mladé ženy spolu sedí na červených plyšových židlích.
Žena v modrém triku jde ve vesnici.
Šest dětí, které sedí na schodu s pastelkami a pastelkami.
Béžový pes si hraje s klackem na pobřeží.
Dva psi si hrasslí třetího psa, který má jazyk.
Dítě se usmívá na motorce.
6 lidí se shromáždilo kolem jídla.
Santa Clause je vyfocen na meditské akci.
Vojáci pochodují New Yorku v dešti.
Žena v modré helmě a červených kalhotách jede na motorce.
Několik mužů má na sobě bojové umění a předvádí nějaké přinky.
Mladá žena a muž v britském kostýmu si prohlíží uchu tyče s skupinou lidí v pozadí.
Muž v uniformě jde po ulici se dvěma auty a stromy.
Mladá žena leze po skalní stěně.
Starší muž ve světle modrém kabátě pracuje na kraji silnice.
Lidé se dívají přes několik barevných kousky papíru na stole.
Muž zpívá a hraje na kytaru do mikrofonu.
Dva muži sedí v restauraci.
Dvě ženy v šortkách běží po pláži podél vody.
Stavební dělníci mají diskuzi u železničních.
Pohled na šipku znášnice, kde muž v černé kšiltovce stojí uprostřed muže v černé kšiltovce a bílé kšiltovce.
Skupina lidí si hraje na předmět.
Malá dívka v modrém oblečení leze po kovové zábradlí na ulici.
Skupina mužů sedí a mluví za nějakým zeleným ovocem.
Muž ve žlutém oblečení stojí za mikrofonem pod stanem.
Hnědý pes s fialovým frisbee v tlamě.
Vypadá, jako muž trénuje svůj bojová umění blízko bahno.
Žena s nápojem a žena s mobilem.
Dítě v červeném kabátě mává rukou ve vzduchu, zatímco leží vedle plastového bobech.
Žena sedí vedle ní a dívá se na psy v parku.
Tři muži stojí na pódiu, jeden má na sobě klaun a drží kytaru.
Žena v kmenovém oblečení v kmenovém vesnici.
Žena v červených šatech tančí s mužem v obleku.
Dva malí psi následují většího psa s tenisovým míčkem.
Muž s keřským vousy a kšiltovkou sedí na lavičce v parku.
Afroameričan stojí na zahradě s lesem v pozadí.
Mladá dívka se snaží kartáček.
Asijští lidé sedí v restauraci se žlutými židlemi.
Dítě jí sušenky, zatímco sedí na vysoké židli a má bryndák.
Šedovlasý muž v černých rukavicích se pohybuje po trávníku.
Žena čte knihu, zatímco sedí v řadě červených židlí.
Dítě tleská zatímco jede na ramenou.
Rodina jde po chodníku skrz sníh, zatímco muž sedí na straně s papírem.
Kočka sedí na vrchu obchodu.
Muž v růžovém triku a černé bundě se sluchátky.
Mladý muž se chystá hodit míč.
Muž a dívka jdou po chodníku.
Žena s růžovými vlasy se ohnutý dolů po chodníku a drží růžový psy.
Muž v obleku drží nápoj a jde po chodníku vedle městského autobusu.
Muž skáče s kamenným úder v pozadí.
Člověk v červené bundě s černými kalhoty drží duny.
Žena si dává ruku na člověka v kolečkovém křesle.
Muž v bílé zástěře něco vaří s vajíčkem venku před ženou v béžové bundě.
Žena s klikou na přechodu a hlavou čeká na přechodu.
Skupina mužů jde po ulici ve městě.
Ulice vedle několika sloupů se spoustou sloupů.
Skupina lidí v černém stojí na molu poblíž dlouhé budovy.
Muž, který nese několik kožených pivo.
Muž středního věku sedí a hraje na akordeon.
Dívka s zelenými vlasy, vlasy, vlasy a v uších stojí venku.
Mladá dívka v růžovém triku běží na pláži směrem k oceánu.
Skateboardista v černém triku a džínách bruslí ve městě.
Muž v bundě fotí velkou budovu.
Lidé na postrantu fotbalového zápasu.
Na tomto obrázku je rodina rodinou přes rušnou ulici ve městě.
Skupina lidí jde po ulici na slunci.
Ulice poblíž pouličního umělce s několika lidmi, který má na sobě hnědou bundu a sluneční brýle.
Někteří šipky šipíjí poblíž okna.
Tato hráč v modré helmě myje pálku a právě odpálil míček během hry.
Žena ve zlatém kabátě peká, aby chytil metro.
Nějací lidé sedí na lavičkách pod řadou stromy.
Muž v obleku sedí na autobusové zastávce.
Afroameričanka obklopený prázdným kulkami a tmavou bednou bednou bednou bednou bednou bedny.
Mladá brunetka jí a něco pije.
Muž v obleku a klobouku hraje na kytaru na ulici.
Žena v červené vestě pracuje na počítači.
Lidé stojí kolem a tvoří kouř do obličeje.
Muž používá koupelně zrcadlo vedle svého kravatě.
Muslim si hraje s několika jedinými jednotlivami, zatímco odchází.
Dva mladí muži jedou na velmi malém vozíku plné brambů.
Žena v šatech jde po ulici kolem staveniště.
Sbor v večerním obchodě kupuje zákazní zákaznice.
Muž se slunečními brýlemi řídí konstruk na štěrkové zemi.
Dítě si hraje s hračkami a bílou kočku.
Dospívající dívka nese na kytaru v lese.
Muž s batohem jde po ulici.
Dva muži mají konverzaci před obchodem Giriri.
Žena v černém drží něco v tlamě.
Skupina lidí sedí venku kolem malého stolu.
Muž jede na kole nahoru po rampě.
Žena v černém tílku a s náhrdelníkem hledí do dálky, zatímco se dívá do dálky.
Tři mladé dívky jdou spolu po chodníku.
Žena s dlouhými vlasy je u obřadi.
Muž skateboarduje na silnici, zatímco jiný muž se dívá z chodníku.
Muž v černé kožené bundě stojí před nápisem.
Muž a žena spolu zpívá píseň.
Mladá dívka s kudrnatými blonďatými vlasy v bílém tílku leží v trávě a drží květinu.
Mladá žena amerického fotbalu v zelených dresech předvádí cviče.
Žena vynánáná scénu ve veřejném prostoru za páskou pásku.
Muž klečí a dělá holuby, zatímco holuby v pozadí.
Skupina mužů stojí na hřišti s černými míčky.
Rušný den na místním hřišti.
Muž s cigaretou v puse opravuje talíř s jídlem.
Dvě skupiny plavců se brodí vyrobeným vyrobenou.
Lidé sedí na lavičce na městském náměstí s lampami, včetně lampy, kteří stojí poblíž reproduktorů a formace.
Pracovníci obklopují díru s kbelíkem.
Polonahý muž v černých šortkách stojí na kamenitém břehu velké vodní plochy.
strážník se dívá na stráž.
Lidé si hrají kulečník, jeden muž v modrém triku a ostatní ženy jsou na hlavě a dělají poznámky.
Lidé stojí před sochou obklopenou vodou.
Žena se dívá, zatímco muž se složenýma rukama.
Muž ve středním věku v bílých šortkách a žabkách se dívá nahoru po silnici.
Dva muži v tmavě oranžové pokrývce hlavy a sandálech stojí poblíž velké reflexní.
Dva lidé tráví čas ve své lodi.
Muž a žena stojí na ulici ve městě.
Hasičové vynojí z stanice metra.
Čtyři muži, jeden z nich má na sobě čepice, sedí na modré podložce a zelené vzorovaných vzorovorovaných vzorovaných vzorovaných, sedí.
Tato skupina lidí sedí venku na lavičkách.
Muž v červeném triku jde kolem tyrkysové dodávky a bílé restaurace s nápisem "Bar."
Doktoři předvádí nějaké operaci.
Starší muž s cigaretou v puse a kšiltovce zkoumá svůj foťák.
Malé orchestr si hraje s otevřeným futrálem před obchodem na housle.
Muž v červeném obleku tančí s ženou.
Dva lidé se dívají na světly ve městě.
Dva cyklisté v ochranném oblečení s ochranným vybavením, jeden je ve vzduchu a druhý se dívá na své motorce.
Několik mužů oblečených v oranžovém se shromažďuje na venkovní akci.
Dvě mladé dívky běží po chodníku před cihlovou budovou s banány.
Dvě osoby lezou po strmém hoře.
Dítě leží na zemi vedle kočárku.
Pes tahá za muže a žena.
Spousta lidí na trhu se dívá na různé věci.
Dva mladí muži hrají na elektrické kytary na pódiu.
Potetovaný muž vylévá pivo z láhve do pusy mladého muže.
Dva lidé stojí venku vedle nafukovací hračky a ukazují hračky.
Čtyři lidé jedou na kole po cestě poblíž rušné ulice.
Žena v růžovém triku a brýlích.
Žena v červeném triku, která zvedá ruku, zatímco prochází dav pod ním.
Chlapec v bílých šortkách skáče do jezera.
Malá dívka se dívá skrz dalekohled na pláži.
Několik stavebních dělníků v oranžových bezpečnostních vestách kope do země.
Člověk v kapuci stojí před budovou.
Stavební dělníci zvedají proti St St Stavurur.
Muž jede na koni a další muži dělají stejnou za ním.
Afroameričanka jde po ulici.
Dva pudlové pózují pro fotku.
Žena s neonovými sluchátky píše do sešitu.
Žena v zeleném triku telefonuje.
Malé africké dítě nese mladší dítě na zádech.
Skupina lidí sedí na židlích.
Člověk v šátku stojí na ulici před svým věcí.
Orientální člověk v červeném triku a černých kalhotách se krčí na betonové zídce.
Černý pes a hnědý pes s míčem.
Muž s černou vestou drží model letadla.
Muž na poli s letadlem na výhled.
Muž v obleku a kravatě a žena s kufry čekají v Londýně v Londýně v Londýně.
Dítě jde po chodníku s několika americkými vlajkami.
Černý pes běží po zelené trávě s hračkou v tlamě.
Orientální cestující cestující na zatáčce v zatáčce.
Pes se otáčí na trávě, aby pouští míč.
Skupina studentů sedí a poslouchá reproduktory.
Lidé jedou po ulici v noci.
Velký šedý mořský socha a muž na kole.
Muž v oranžovém triku a blonďatému chlapci jedou s dalšími lidmi na kulturním autě.
Mladý muž a žena poblíž velké kovové sochy.
Loď v červeno-bílo-modré nehty na molu.
Muž v černém klobouku fotí na rušné ulici.
Muž stojí na rušné ulici a dívá se na hlavu.
Žena v černých šatech má malou dívku ve žlutých šatech na ramenou.
Skupina lidí na ulici připravuje hudební nástroje.
Motokrosový cyklista jede kolem druhého.
Tři lidé jdou nahoru po horské stezce, jedna žena se dívá do objektivu.
Několik Asiatů v černém oblečení v nějaké stanice.
Žena v červené sukni jde po ulici s graffiti v pozadí.
Opravá gymnastka v modro-růžovém oblečení předvádí stativní sestavu.
Lidé v bílých šatech sedí na kraji, žena v bílých šatech a dívají se na kraji.
Muž sedí na lavičce pod velkým stromem.
Tři muži v červeno bílých košilích, bílých kalhotách a černých kalhotách drží vlajky.
Lidé obdivuje umění umění.
Pusní obchodní obchodů s papírem a nákupními lampy.
Tito lidé lezou po schodech na horu.
Malé dítě v modrém oblečení se dívá na nějakých stromů v dálce.
Lidé se dívají na děti v obchodě s hračkami.
Muž s kloboukem hraje na buben na ulici.
Chlapec stojí se třemi dětmi.
Usmívající se muž s batohem drží pěst před chlapcem v brýlích.
Čtyři muži jsou venku a dívají se přes zelený most.
Žena lenoší na ručníku před lidmi si užívá modrou vodu.
Dospělý ovčák běží za volným ovčástkem.
Vysoký nakupují a brzy jídla chycení ve městě je chycení a květin.
Afroameričanský demonstruje proti neidentixu.
Policista na kole čeká na světel.
Skupina mužů sedí okolo stolu.
Skupina třída obchodů včetně staršího muže, kteří mají nápoje v parku.
Žena mluví, zatímco pes jde venku za slunečného dne.
Mladý muž v šedém a černé košili a bílé čelence.
Dva lidé jedou na motorce podél mnoha jezdců.
Dvě ženy ve vojenské uniformě stojí s dalšími vojáky v formaci.
Tři dívky se usmívají na fotku.
Žena, která má na sobě černé brýle a žlutou bundu, se dívá, zatímco sedí na lavičce zakrytý.
Zrzavý mladý muž pije z vody ve tvaru ženu.
Dva muži a žena jdou po městské ulici.
Muž středního věku s červenými vlasy a brýlemi drží miminko.
Mladý chlapec v červené čepici jede na koni.
Dva chlapci si hrají na chodníku.
Malá dívka v černých plavkách drží lopatu na pláži.
Starý muž v klobouku a kabátu sedí na gauči.
Dva chlapci se dívají na oblohu a mávají rukama a jsou oblečeni v teplém oblečení do nich se na sobě.
Mladý pár sedí na chodníku a odpočívá.
Mladík v košili a kravatě se krčí a dává symbol míru.
Tři lidé sedí u stolu před barem Grii.
Chlapec v černém triku a červeném rámečku visí vzhůru nohama, zatímco ostatní lidé přihlížejí.
Muž jde kolem barevné zdi.
Mladý muž jde s jiným mladými mladým mužem, který právě projeden.
Muž zastřihuje strom v kavárně.
Pět lidí jde nahoru po schodech kolem ženy v růžovém triku a hnědé sukni.
Skupina lidí na venkovním trhu.
Dva chlapci obědvají v McDonaldu ve venkovní oblasti, obklopeni mnoha dalšími lidmi.
Žena v džínové bundě jde po chodníku.
Muž jede na nákladním vozidle se čtyřmi pasažéry na straně a muž sedí na zádech.
Muž v modrozelené košili čte noviny.
Chlapec v kočárku v zeleném triku drží knihu.
Dvě děti sedí u strany, zatímco jí odkrok.
Lidé jedou na kole po ulici, všichni v helmách.
Dav lidí jede na kolech.
Muž sedící na nástupišti s koly je taženena tažením.
Muž na kole šlape skrz oblouku.
Barevně oblečený mladý muž s nůžem je vidět a kouří cigaretu.
Dva muži v oblecích pod deštníkem a před graffiti.
Starýubený muž ve špinavém triku jede na kole po ulici.
Muž na koni se snaží chytit lano.
Kovboj se snaží chytit lasem tele, zatímco jede na koni.
Dva cyklisté v helmách jedou kolem nějakých prázdných pole.
Muž se opírá a tahá něco z tašky.
Muž v vozíku jede na motorovém místě v parku.
Osoba s tetováním se dívá na fotku na digitálním foťákem.
Muž v černém triku a džínách stojí na chodníku a dívá se na kameru.
Chlapec a dívka stojí společně na chodníku, zatímco se dívají na předmět.
Několik lidí v modrém oblečení a jeden v sukni a černé blůze.
Žena a pes sedí na bílé lavičce blízko pláže.
Dvě ženy jdou v hlíně před velkou budovou.
Skupina mužů a dítě v bílých tričkách stojí na silnici.
Žena celá v černém a nese černou tašku na chodníku.
Skupina mužů sedí okolo stolu a konverzují.
Žena na straně budovy.
Asiat v rukavicích pracuje u stánku s jídlem.
Žena sedí u stolu a pracuje na počítači.
Člověk se dívá na počítač na počítači s telefonem.
Muž sedí na židli a sleduje lidi.
Dva lidé v kloboucích stojí na poli a ošetují se kračenou.
Někdo skáče přes vysokou tyč v barelu.
Muž oblečený v kozačkách a kovbojském klobouku sedí na koni, zatímco diváci sedí ve stoje.
Dvě mladé dívky sedí na ulici a jedí kukuřici.
Tři děti v fotbalových uniformách hrají fotbal na fotbalovém hřišti, zatímco další fotbalista stojí v pozadí.
Malé dítě se špinavým obličejem je drženena kolem staré ženy.
Muž s brýlemi se dívá do fotoaparátu, zatímco jiný muž v modrém triku se dívá na něco.
Dva lidé sedí pod stromem s zelenou zeleninou.
Mladý chlapec v modré čepici se dívá skrz dalekohled, zatímco se další chlapec dívá.
3 muži vaří v malém kuchyni.
Mladá dívka v šedé kombinéze lyžuje na zasněžené hoře.
Skupina vesnických žen se shromáždila v tanci.
Muž a žena třídí pračky s latexovými rukavicemi.
Mladá dívka sedí na dřevěné židli.
Dva pracovníci sváří mříže u rušné ulice poblíž rušné ulice.
Dlouhovlasý mladý muž skateboarduje na zábradlí v oblačném dni.
Dva muži na venkovním trhu s lopatou a párem na cestě.
Muž v bílém triku hraje na bílou kytaru.
Mladá dívka ukazuje své kamarádi, jak používat disk.
Malý chlapec skáče z mola do jezera.
Žena v zelené masce ušťastné a právě vypadá velmi nešťastně.
Muž v oranžové bundě a modré čepici leze po zasněžené hoře.
Malá blonďatá dívka si hraje a cáká v louži.
Dítě jede na kole po uličce s graffiti.
Gymnasta je pohodil na akci.
Lidé jdou po ulici s prodavači.
Muž oblečený v tradičních šatech, jako oděvu stojí vedle svého otce, který vypadá že vypadá že vypadá že je také také.
Dvě děti si hrají na kole.
Dva muži na opačných týmů hrají fotbal na hřišti.
Muž skáče a pózuje pro fotograf ležící na zemi.
Dívka si dává pití z fontány.
Kononní soupravy během své vodní plochy.
Muž v laboratorním plášti se dívá skrz mikroskop.
Blonďatá dívka spí na hnědém gauči.
Muž zametá chodník před cihlovou budovou během dne.
Tři muži vaří v kuchyni.
Muž na lešení před domem se usmívá a pózuje pro fotografa.
Dvě dívky v šortkách drží za ruce v bazénu.
Čtyři asijské děti sedí na lavičce a usmívají se do objektivu.
Děti jedou na kole v něčem, co vypadá jako výstavě.
Mladý chlapec v šéfkuchařské čepici a zástěře krájí klobásy v kuchyni.
Toto je klaví klauna.
Usmívající se loď drží kolo svého dřevěného lodi.
Žlutý buldozer pracuje, aby vidli hlínu.
Žena v červeném triku jede na bílém koni, který je po stromů.
Žena sedí na velmi velkém kameni a usmívá se do objektivu s stromy v pozadí.
Tři muži v jasně barevných kostýmech se dávají na ulici s parukami a parukami.
Dívka si hraje v malém bazénu.
Dvě děti, chlapec ve žlutém triku a dívka v modro-bílém pruhovaném triku se houpají.
Muž hází rybářskou síť do peče.
Muž v šedém triku, modrých džínách a neonově zelené bezpečnostní vestě stojí na železniční trati s bílou budovou v pozadí.
Dva stavební dělníci leží na kovovém trámu.
Je zde kapela na pódiu s členy v modrém.
Horolezec s trikem zpívá do mikrofonu, zatímco hraje na bubny.
vidět muže, který dává věci z nákupního košíku, připravuje k dámu.
Muž s holí jde po procházce.
Žena, která má na sobě bílé triko, pracuje na lokty.
Dívka v masce jede na ramenou muže na ramenou.
Dvě dívky, jedna starší v černém a mladší a druhý v bílém, předvádí baletní balóny před deky.
Několik žen předvádí tanec před budovou.
Plešatý muž jde po chodníku ve městě, zatímco telefonuje.
Žena si hraje s maškem, zatímco malé dítě v kostýmu jde kolem.
Skupina lidí sleduje mladého muže, jak hraje na bubny s kyblíky.
Dívka v bouřské výstroji a chráničích na kolečkových bruslích.
Malý bílý auto je na vlakovém kole a možná možná možná možná byla.
Dva horolezci zpívají a hrají na tmavém pódiu.
Dívka v baseballové čepici, bílém triku a modrých šortkách stojí v horkém lese.
Dva muži hrají na kytaru před velkým publikem.
Mnoho lidí tancuje s jejich podepiskami před velkou domem.
Žena a pes prodává své zboží na staré budově.
Žena a dva muži, kteří jsou oblečeni v profesionální, mají diskuzi.
Skupina mužů v červeno černých bundách čeká na motorkách.
Muž oblečený v bílé uniformě s číslem 3 na které hraje fotbal.
Muž prodává sušenky na sportovní akci.
Dva muži ze zeleného týmu sráží protihráče během rugbyového zápasu.
Děti závodí s fotbalovým míčem.
Člověk v modrém se sklání, jak hází míč na bowlingové dráze.
Několik fotbalistů na hřišti v akci.
Mladý muž sedí na skateboardu a drží mobil a pózuje na eskalátoru.
Žena oblečená v modrém běží maraton.
Tato kapela se připravuje na vystoupení před publikem.
8 s číslem Oakakakakakak AMM, který se pokouší chytit protihráče.
Dva muži se perou na ledu před sebou, který se na něj dívá malý dav.
Muži hrají fotbal na bahnité hřišti.
Basketbalista v bílém dřepí, zatímco hráč v červeném se zastavil k němu.
Lidé se procházejí obloukovým obloukem ve starém městě.
Dva závodníci, jeden z nich řídí červené a modré, jedou bok po závodní dráze, zatímco ho pozorují několik diváků.
Fotbalista v bílém dresu drží fotbalový míč.
Velmi mladý chlapec hledí před malým předmětem.
Žena a dítě jdou po ulici.
Hokejový zápas je spousta lidí, kteří se dívají.
Tři ženy skáčou na míčky v trávě.
Afroamerický chlapec v modrých šortkách, černém tričku a červených teniskách hraje tenis.
Muž a žena v bílých tričkách se objímají.
Muž mluví ke rodině drží nějaké zařízení, zatímco se na ně dívá.
Malý chlapec v zeleném triku leží na bílém posteli.
Extrémní cyklista zastavuje, aby si odpoledovat slunce v pozadí.
Žena v teplém prostoru má na sobě teplé oblečení.
Čtyři dívky a žena se učí, jaké dovednosti.
Muž v černobílých uniformách se snaží zastavit koně.
Muž nabírá obrázek, která je žena v modrém triku, žena v modrém triku se dívá.
Žena s červenými vlasy je hlubokou v modré vodě.
Dva mladí chlapci pózují s štěně pro fotku.
Čtyři děti trénují karate, zatímco se dva dospělí dívají.
Muž lenoší na červeném gauči v nábytku.
Skupina lidí mluví u stolů.
Dva závodníci závodí, jeden v modré a červené a červené a druhý v pozadí jsou rozmazaný proti rozmazaný proti sobě.
Červené auto před dvěma auty v pozadí.
Velký býkatý býk, muž v větví od rodea, který je odhodil na rodeu.
Muž bez trička jde k žlutém kajaku.
Chlapec na střelnici míří zbraně a střílí.
Dva týmy chlapců hrají fotbal v písku.
Dítě v modrém a dítě v bílém stojí na nízké betonové zdi.
Žena kreslí kytici na hliněném hrnčířském kruhu.
Lidé jdou po rušné ulici v cizí zemi.
pravo nadhazovač nadhazuje pro nad nad nad nad nadhazuje.
Dva muži, jeden v černo-bílém a druhý v červené, hrají volejbal.
Muž stojí na lodi a drží nějaké síť.
Surfař, který se snaží na surfu v oceánu, zatímco se snaží chytit vlnu.
Kameraman v laboratoři se připravuje ochutnávají laboratorní v laboratoři.
Fotbalisté skáčou do vzduchu, aby zasáhl míč s jejich hlavami.
Dva chlapci hrají fotbal.
Starší člověk přechází ulici s deštníkem v rukou.
Skupina běžců běží směrem k dvou mrakrech.
Skateboardista jede na betonové zdi poblíž padá, zatímco se snaží trik.
Lidé hrají hru v bazénu.
Muž, který se líbá, aby si líbajícího muže.
Muž cedule s mladým chlapcem na mladého chlapce.
Mladý muž v modrém triku jede na skateboardu po zábradlí ve městě.
Asiat sedí na železniční trati s bednou bedny.
Britský muž oblečený do vojenské uniformě mává své čepici, v pozadí je dav lidí, kteří sedí a dívá se na zádech.
Dvě auta jedou na závodní dráze.
Muž v černo-bílém dresu drží žlutou tyč a připravuje se ze sebe.
Dva lidé leží a líbají se na travnatém trávníku.
Velmi malé dítě v džínové kšiltovce jí zelené jablko.
Fotbalisté běží k míči.
Muž v černé bundě a kostkovaném klobouku hraje na elektrickou kytaru a v pozadí hraje na elektrickou kytaru s dalšími zpěvák na kytaru v pozadí.
Muž skáče přes překážku od býka.
Žena v modrém triku a bílých šortkách hraje tenis.
Muž hraje bowling na koncertě.
Muž nese velkou kovovou trámu na rameni kovu na rameni.
Žena s kamerou hází frisbee pro hnědého psa.
Je tam obrázek muže a žena, který sleduje ohně a dívá se na velký dřevěný předmět.
Dvě dívky dřímají své ruce ve fontáně, zatímco lidé jdou kolem.
Mokrý usmívající se dítě bez trika pózuje se zvednutými rukama.
Dva muži, jeden v bílém a druhý v modrém, zápasí.
Žena v červených bikinách skáče do míčku, zatímco hraje volejbal na pláži.
Oranžově pruhované draky kouše blond dívku, která kouše nos.
Žena, která má na sobě žluté zástěře, vyndavá z velkého hrnce.
Dvě děti přechází malou kamenný most.
Dvě africké ženy jedou na mopedu po ulici ve městě, která vypadá jako novin.
Dva chlapci před limonádu.
Cyklista v černém jede po prašné cestě na horském kole.
Potetovaná žena fotí obraz s mobilem.
Žena v převážně černém oblečení a bílé helmě jede na kole s rozmazaným stromy v pozadí.
Tým cyklistů se zatáčí, zatímco poblíž diváků a fotí.
Čtyři fotbalisté v černém sráží protihráče v bílém, zatímco je vidět.
Běžkyně s oblážíží na dvorku, zatímco se rozhodl k tomu.
Basketbalista v bílém dresu s číslem 55 je na stránn v černém dresu s číslem 5.
Muž telefonuje venku.
Demonstranový hráč v běhu během běhu.
Cyklista dělá otočku v lese na podzim v lese.
Tři basketbalisté v červeném dresu a jeden v červeném dresu se snaží chytit míč v bílém dresu.
Chlapec si bere nohu, zatímco skáče do vzduchu.
Dvě děti v pruhovaných svetrech a černých kalhotách, které jsou venku u hry.
Muž ve slunečních brýlích jede na koloběžce.
Malý chlapec v basebalovém dresu drží pálku za zády baseballovou pálkou.
Šest mužů sedí na poli s dřevěnou bednou bednou bedny.
Hnědý pes sbírá větr z kamenného povrchu.
Tento muž je oblečený ve žlutém drží úkozeného koně.
Muž v bílém triku a zástěře krájí ptáka.
Hispánská žena venku používá sušenky.
Maratonští běžci závodí na městské ulici, s dalšími lidmi stojí kolem.
Asiatka, která má na sobě sluneční brýle, zatímco jede na kole.
Nějaké děti si hrají venku v hlíně, kde jsou dva stromy.
Starší muž hraje videohru.
Dívka na břehu pláže s horou v dálce.
