muž v oranžové čepici se dívá na něco .
boston běží na zeleném trávě před bílým plotem .
dívka v karate dělají klacek s kopou před kopou .
pět lidí v zimních bundách a helmách stojí ve sněhu , s sněhem na pozadí .
lidé opravují střechu domu .
muž ve světle zbarveném oblečení fotí skupinu mužů v tmavých oblecích a kloboucích stojící kolem ženy v šikračených šatech .
skupina lidí stojí před igloo .
chlapec v červeném dresu se snaží udržet na domácí talíř , zatímco chytačník v modrém dresu se snaží chytit .
muž pracuje na budově .
muž v vestě sedí na židli a drží časopis .
matka a její mladá píseň si užívají nádherný den venku .
muži hrají volejbal , jeden hráč , který se snaží v ruce míč .
žena drží misku jídla v kuchyni .
muž sedí u stolu v jeho domě .
tři lidé sedí v cavech .
dívka v džínových šatech jde po zvednutém kladině .
blondýna drží za ruce s mužem v písku .
žena v šedém svetru a černé kšiltovce stojí v řadě v obchodě .
člověk v pruhovaném triku leze po hoře .
dva muži tulují , zatímco žena se dívají .
lidé stojí před budovou .
teenager si hraje na trumpetu na poli na hru .
žena dělá salto na trampolíně na pláži .
muž stojí u skupině videospielů v baru .
žena používá vrtačku , zatímco jiný muž fotí .
žena v růžovém svetru a zástěře čistí stůl s spongebob .
muž krájí větve stromů .
skupina asijských chlapců čeká na maso na grilu .
ženy , která má na sobě tradiční oblečení , jsou doprovávání záchrannou .
jeden muž drží hlavu druhého muže a připravuje se do obličeje .
šest lidí jede na horském kole skrz prolézaště .
dvě blonďaté dívky sedí na římse na přeplněné náměstí .
dítě cáká ve vodě .
tři lidé sedí u piknikového stolu před budovou , které jsou pomalovaná jacks .
tři chlapci stojí na molu v plavkách .
zaměstnane podává ženu , zatímco si prohlíží ryby na trhu .
krásná žena si hraje na harku .
venku před budovou v uniformě sécurité se dívá na kameru z plotu .
mladá dáma se dívá na pizza .
muž bez trička v šortkách rybaří , zatímco stojí na kamenech .
dívka v záchranné vestě plave ve vodě .
muž v uniformě a muž v modrém triku stojí před dodávkou .
lidé sedí v vlaku .
dítě se houpe s nohama do vzduchu v lese .
muž v červeném triku vstupuje vstupišti .
dva muži v plavkách skáčou do vzduchu na moderní pláži .
batole vaří s dalším člověkem .
otec se baví a dvě děti venku na jejich domy , jak pracují , jak pracují na trávě a plují na stromku .
muž vaří jídlo na sporáku .
muž v džínách si hraje s červeným míčem na pláži .
lidé jdou po chodníku vedle řady obchodů .
wakeboarder předvádí salto , zatímco je vystavené na vysokém rychloch .
velká skupina lidí naplňuje ulici .
muž na běžce jede do vody .
žena v džínách jde kolem autobusu s nápisem , která se dívá na ženu s brýlemi .
muž v růžovém triku sedí v trávě a míč je ve vzduchu .
auto zaparkovaná na pláži .
dva muži v černém v městě .
muž ve žlutých kalhotách zvedá ruce .
dva muži v kloboucích a používají hůlky jdou kolem vodní plochy .
tým roztleskávaček dělá výtavu na židlích .
chlapec si hraje dámu s dospělým zscotu , zatímco dívka se dívá .
dav lidí venku na nějaké zábavním parku .
muž sedí na lavičce a drží svého psa a dívá se na vodu .
chlapec a jeho mladší bratr si spolu hrají na hřišti .
žena v modrém se dívá na černou kožení , zatímco sedí na lavičce během slunečného dne , zatímco lidé a jsou za ní procházejí .
hnědý pes stojí na písečné pláži .
žena sedí s košíkem plátky , obklopený látky .
muž griluje na své zahradě .
žena zpívá v klubu s kytarista za ní .
kytarista hraje na kytaru v noci .
dítě sedí na trávníku a dívá se do objektivu .
dvě ženy a tři muži se dívají na oceán .
umělec s housle hraje na ulici , zatímco žena s modrou kytaru se dívá .
mladá dívka plave v bazénu .
několik dětí venku se připravuje na přetahahovanou .
tři teenageři v metru si hrají .
hnědý pes jde po trávě s jazykem .
lidé sedí v trávě před budovou a dává si pauzu .
muž bez trička hledí do dálky , zatímco tři žena prochází kolem davu sedící před kavárnou .
dva mladí chlapci dávají ovoce na kole .
muž v černém triku , čepici a džínách hraje na bubny na žlutém stoje .
mladá umělkyně maluje obrázek ženy na zdi .
dvě členové týmu usazené předvádí skok na vysokém skoku obklopené dvěma jinými členy .
muž míchá hrnek v této kuchyni .
chlapec wakeboarduje na jezeře .
muž pracuje párek .
velká skupina lidí s různými domů a govkami sedí venku .
blonďatá žena lije nápoje v baru .
malé dítě , které má na sobě modré a bílé tričko , drží venku žlutou plastovou kouli .
žena s růžovými vlasy v černém mluví s mužem .
muž v japonském obleku připravuje jídlo pro dva lidé .
dívka skáče přes řeku ze skály .
pracovník s nástroji klečí vedle dvou žen .
starší muž otevírá pusy rukama a dívá se pero .
dítě v bílém karate oblečení cvičí trik .
tři muži v stejných vestách jsou venku .
žena fotí dítě v růžové čepici , zatímco muž nese .
skupina mostly asijských dětí sedí u cubky na modrých židlích .
mladý chlapec v fotbalovém dresu brečí do své palmy .
šťastná žena se připravuje v kavárně .
stavební dělník řídí těžké vybavení na pracovišti .
žena běží po odpalu v ženské softball , chytačník se chytají své nohy .
muž v pracovním dresu projíždějící o nástroj , aby jiný člověk .
skupina lidí leze po chladném zimě .
mohista se chystá na horu s modrou helmou .
muž dělá stojku na vrchu kulatého sochy .
dítě sedí u stolu v restauraci a drží papír contre son visage .
hnědý pes se brodí do jezera , aby chytil klacek .
matka učí své dva mladí chlapci , aby ryby z kamene do velkého modrého vody .
malé dítě jde vedle červených plakáty .
dívka sedí na ozdobeném kole s mladším chlapcem , zatímco další dívka fotí .
černý pes chytá míč ve vodě .
muž v bílých kalhotách a modrém triku kope do žlutého boxu .
dva indické muži se účastní akce .
chlapec s bruisými nosem a píše na ruce stojí v videok .
dva silhouetetci pádlují kánoi na oceánu během západu slunce .
lidé stojí v přeplněné metru , a stojí venku před oknem .
muž leze po zdi s ohněm v ruce .
dva hnědí psi běží sněhem .
na pódiu předvádí malého skupiny malého kapely před divadlem .
dítě v vánočním oblečení se dívá do objektivu .
muž sedí vedle počítače .
tato dáma má na sobě drátní luk a směje se .
lidé uvnitř budovy , jeden fotí .
čtyři bílí psi s náhubky skáčou přes červenou stěnu .
žena v modrém triku drží miminko .
dva lidé sedí na pruhované židlích na vodě .
stará žena pracuje na tkalcovském stroji .
chlapec stojí v popředí a dívá se přes další lidé na hřišti .
muž v modré bundě sahá po ramenou malého chlapce .
tři hnědí psi skáčou u ženy v modrém .
chlapec visí z starého taxíku .
muž v šedém triku skáče přes vrcholol písku v poušti .
dítě ve žlutém triku skáče nahoru a dolů .
pracovník ve žluté bundě se otáčí vysoko na budově .
muž v brazilní prezentuje informaly a mluví s mladším dospělým .
skupina bier táhní v baru s vánočními světly na stropu .
muž se skládá dolů po útesu nad oceánem .
muž v černém jde do svého náklaďáku ve sněhu .
haxxý terrier skáče po míči .
policista v čepici a tmavomodrých uniformě se usmívá , zatímco má na sobě sluneční brýle před obchodem .
rodina jde v parku .
muž v zelené přilbě a žluté bezpečnostní vestě se mračí .
dítě s růžovými vláčkami tančí na hlavě a obklopeni confeter , balónky .
pes s štíčem nosem si dává něco na břehu .
muž se připravuje své místní stojku pro den .
muž v červeném triku se chystá jí .
mladá žena v bílém drží tenisovou raketu .
chlapec v červeném triku kope do písku s žlutou lopatou .
člověk v růžové bundě stojí na dřevěné lavičce .
muž v bílém triku se dívá z okna kovové konstrukce .
žena drží malou bílou sochu .
šest dětí bez trika si hrají v přírodním vodě a cákají .
dva lidé jedou na kole přes horu .
dívka skáče přes provaz na chodníku poblíž garáže .
muž v oranžovém triku a helmě .
malý chlapec si hraje s plastovými bloky , auty a zvířaty s dospělým , co se dívají .
malá dívka otevírá vánoční dárek .
žena v modrém řídí foťák před dvěma dalšími ženami .
malá dívka se snaží na pohovce .
hnědočerný pes běží po cestě v lese .
dva psi si hrají u stromu .
námořka v černém kabátu a kalhotách na schodech , zatímco se dívá na psa .
dva muži v zeleném připravují jídlo v restauraci .
muž v černé kožené bundě a kovbojském klobouku jde kolem renaissance festival .
pes běží venku s žlutým hračkou .
pes v obleku běží ve sněhu .
rodina si hraje na pláži s psem .
žena a dítě se objímají , zatímco si dítě , které vybíbíjí , co je postavené .
dva muži a žena stojí venku .
skupina mužů používá klády , aby tlačí loď z vody .
muž pije sklenici víno , zatímco čte noviny .
muž v celém černém a hraje na piano .
mladý chlapec v modrém dresu a žlutých šortkách hraje fotbal .
muž stojí na kamenné konstrukci s rukama jako ptáka .
pes pije vodu venku na trávě .
dvě ženy v tílku se dívají na kameru .
muž sedí na friseurské židli a připravuje se na kvůli .
malé dítě v zelených botách si hraje v bahnité louži .
muž používá pilou , aby vyřezává dřevo .
muž sedí u piknikového stolu s táhnem a rozprohlým pivo před ním .
chlapec v černém triku a modrých džínách drží červený baseballovou pálkou .
tmavovlasý muž v brýlích a hawaïském triku sedí na trávě .
psi běží na psí dráze .
světlý technici s kmenovým tetováním nastavuje na balkóně nad balkonem .
dva německý ovčák se perou na sebe .
toto je skupina lidí stojí na nějakém akci .
hnědobílý pes chytá hračku .
muž s bílými vlasy hraje na akordeon uprostřed nějakých budov .
žena s hnědými vlasy sedí na lavičce před kavárnou .
muž vedle kola hraje na flétnu .
dvě děti balancují na kládě a drží provaz .
muž na motorce předvádí trik na dráze .
mladá žena s fialovým šátkem se zakrývá obličej na dřevěné palubě .
žena v hnědém triku sedí na jasně červené lavičce .
pes jde po kládě přes malou řece .
mladý muž v bílém triku a zelených a černých šortkách stojí na pažišti .
skupina lidí je celý pod deštníky .
muž se baví s obrovským nápisem na svém kole .
muž hází kládu do vody , zatímco dva psi se dívají .
skupina rodů hraje na nástroje pod stanem u vody .
pohled na rušnou ulici .
mladá blondýnka drží bílé provaz na slunečný den .
dva lidé v modrých tričkách jsou venku s býkem .
černý pes skáče do bazénu .
kovboj jede na zádech bronco v soutěži .
železniční dělník předvádí maintenance na železniční trati .
dělník v oranžové vestě používá lopatu .
dva dělníci diskutují , zatímco pracují na pracovišti .
tři muži jdou nahoru po kopci .
asiatka v květovaných svatebních šatech pózuje na mostě blízko ní .
mladý muž hraje na kytaru v kuchyni .
tři chlapci si hrají s spongými a kyblíky vody .
tři stavební dělníci jsou na chodníku .
lidé chustují v lese vedle kánoů .
skupina chorů se shromáždili v kostele .
skupina mladých dospívajících skáče v noci a dělá rámy na kameru .
dva muži jedou na kajaku , jeden v modrém , dolů po potoce .
dva pracovníci roztaženýma cement na cihlové budově .
žena v červeném svetru a džínách sedí s rukama na kolena .
dva umělci si dávají mohovou zápas pro publikum , který se dívá na pozorně .
relaxují a čeká na letišti .
muž ve žluté bundě drží ohně , chlapec v parka se dívá .
muž a chlapec na kamenném pláži .
žena na lodi s nápisem " elm " razor " spojuje schwarze ras do vody .
chlapec sedí a dívá se z mikroskopu .
mladá bosá dívka v růžových šatech skáče venku .
mnoho lidí sedí venku okolo stanu .
mladík v černém triku s nápisem " asijskou paccccc " hraje na buben .
muž , který prodává věci u silnice na velké kafeňové canyon .
dívka ve žlutém se směje na dívky v oranžovém , zatímco je pozoruje dívka v modrém .
pes skáče venku přes překážku .
pes s černým obojkem válí v hlíně a dribluje listí .
dva hnědí psi si hrají v divokém manu .
muž s knírem a vousy drží pána , který má na sobě plechovku .
muž , který má na sobě záchranné oblečení , se skládá na břichu .
muž v černém triku rybaří na skalnatém břehu .
dva psi se perou o nosu .
dva muži se zastavují na chodníku , zatímco projíždí auto .
čínský muž sedí a čeká na zákazníky .
zaparkovaná auta s školním autobusem za nimi .
dvě ženy v podobných tričkách jdou doleva .
malé dítě v oranžové záchranné vestě drží na kajaku v vodě .
lidé jdou po stezce v parku plnou .
tři mladí dospělí si povídají v davu lidí , žena se zututí .
žena a dítě venku před dveřmi jejich malby .
černý muž a její dva bílí přátel si dávají své kamarády blízko sebe .
dívka v maskáčových kalhotách sedí na střeše hummera .
světle hnědý pes běží nahoru .
chlapec pózuje s velkou zelenou v nose .
plešatý muž protestiert , jak se svým hnědo-černým psem skáče .
dav na rušné ulici .
chrt v žluto-černém běží po dráze .
muž v sandálech sedí na chodníku poblíž nějakých tašek .
muž a žena sedí na metě plotu a konverzují .
dítě se dívá na kávu v obchodě .
muž pije z žlutého kelímku kolem lidí na rušné akci .
chlapec se opírá o auto s květinami na kapucí .
žena v květovaných šatech mluví s dětmi před dodávkou .
muž na svém svatebním dni .
mladá žena v černém triku a džínách zametá .
žena s kloboukem leze na útesu poblíž velké vodní plochy .
velký černý pudl běží po trávě s hračkou v tlamě .
chlapec v šortkách dělá trik na skateboardu .
malý chlapec v červených kalhotách stojí na ulici .
žena píše na svém telefonu , zatímco je obklopený deštníky .
osm muži hrají na hudební nástroje na pódiu , s kytarou vysoko světly ve světlých světlách .
muž v oranžové kombinéze a stejném klobouku pomáhá s modrými hadicí .
muž a dvě dívky ukazují rybu , zatímco drží rybářský prut před vodou .
muž v červeném triku sleduje psa na startovní dráze .
chlapec v červeno-bílých plavkách skáče dozadu v krásném bazénu .
asiatka si hraje na vlasy .
starší žena a malé dítě v růžovém triku si hrají s barevnými bloky .
malý černý pes skáče přes vač .
hnědovlasý muž v zeleném triku hraje na trumpetu venku .
muž mluví do telefonu s nohama nahoru .
skupina dětí sedí na modré podložce a jí z misky .
černý chlapec sedí v písku .
malý pes sleduje dva velký psy , jak si hrají na poli .
lidé sedí v kruhu před velkou budovou .
jeden pes skáče , aby chytil míček , zatímco druhý se dívá .
blonďaté dítě se houpe na houpačce .
jeden muž a dvě ženy diskutují přes bílé víno .
asiat vaří venku jídlo .
hnědý pes se chystá chytit zelený frisbee .
fanoušníci jubelní , zatímco hraje píseň .
mladý chlapec stojí vedle písečné sochy pyramidu .
tři malé děti jdou po travnatém dvorku .
muž vybírá umění na vozíku .
muž na kole jede na hoře .
chlapec s modro-žlutými botami běží na hlíně .
žena v oranžové bundě sedí na lavičce .
muž dělá trik na skateboardu .
muž v bojové umění ve vzduchu .
žena prodává ovoce na chodníku .
dva fotbalové týmy jsou na hřišti .
dítě v modrém triku skáče z lavičku .
brankář na žlutém poli se doprová gól .
skupina mladých lidí v mexickém prostředí .
mladý muž skateboarduje ze růžového zábradlí .
mladý chlapec skáče z pandach na malém posteli .
dva lidé v zvláštních kostýmech , jeden v modrém a fialové , stojí na silnici .
muž , který běží v modrém triku s číslem na sobě .
asijský dělník pózuje na kameru .
muž , který vypadá , že běží maraton a ukazuje 2 palec nahoru .
basketbalisté střílí na branku během hry .
fotbalista v oranžovém dresu se usmívá a drží fotbalový míč .
dva downhill skateboardisté ríjí curve , zatímco ostatní se dívají .
tým v bílém a zlaté na straně fotbalového hřiště .
malá dívka tlačí na koloběžce skrz travnatou pole .
skupina asijských dětí v bílých tričkách a čepicích vystupuje s davem , která se dívá .
chodci jdou po ulici a dívají se na dítě v kartonové krabici .
hnědý pes běží po písečné pláži .
dva muži v vojenských uniformách stojí vedle ženy .
dalkakaka na receptionu , kde se účastní pásky , mají brouby a hady a hadny .
cyklista skáče přes překážku .
pár sedí na bílých zahradních židlích a usmívají se do objektivu .
malé děti jsou na malé vlaku .
surfař v modrých plavkách jede na vlnách .
chlapec skáče na jeho bratr .
dva mladí muži na proti protihráči soupeří míč na fotbalovém hřišti .
lidé jdou po dlážděné svahu obklopené čínskými stánky .
mladý chlapec v bílých kalhotách skáče z gauče .
chlapec v oranžovém triku nandavá legos z pytel .
žena v hnědých sandálech a modrých džínách , v bílém triku , drží dítě pod vysokým stromem .
tři lidé se usmívají a drží politické nápisy .
policista stojí vedle auta na městské ulici .
dva muži v kloboucích .
chlapec ve vzduchu se snaží kopnout fotbalový míč .
mladý chlapec v modré čepici má hlavu dolů .
zrzavý muž s dredy sedí a hraje na akustickou kytaru .
muž jí s dcerou na klíně .
afroamerický dítě drží něco , které je na obrázku jsou třídy .
žena diriguje dav lidí s loukou .
costumé přihlížející sledují policista , který dělá proslov a muž v obleku drží ovoce .
dav ukazuje v baru .
dívka v bílém a dívka v zeleném prochází kolem modrého auta .
muž používá elektronové vybavení .
člověk surfuje skrz vlnu v oceánu .
voják zkoumá něco .
nevěsta a ženich se líbají pod nevěstem .
policie stojí v pozadí , zatímco mladý muž s červenou šálou zakrývá obličej .
černo-bílý pes skáče přes stránku na soutěži .
žena v svetru si čte knihu v doma .
několik dospívajících se dívají přes zábradlí v tmavé místnosti .
muž v bílém triku se starává na skále .
dospívající chlapec se protahuje v kuchyni a plechovkou se moře vidět na břichou .
lidé drží různé druhou bubeník bubnuje nad různými druhy bicy .
tři farmářských harlala na r riceovém poli .
dvě ženy a muž se dívají na knihu .
tři děti je vidět , zatímco stojí poblíž základné základy .
kuchař pózuje pro kameru , zatímco vaří .
mnoho lidí na ulici protestuje na pouští pouze , co je ve powerpočaných rostlin .
puberťák skáče do kopce s kolem .
malá dívka běží na břehu pláže .
bílý kachna pluje kříd ve vodě .
dva muži vypadají , že mluví , zatímco stojí před náklaďákem a za sebou , zatímco čtyři lidé stojí kolem nich stojí .
žena v růžové sukni drží dítě .
hokejista ve žlutém dresu brání gól .
muž jde kolem velké nápis , na kterém je napsáno e eikikikiki .
tři chlapci v zelených tričkách a béžových kalhotách pózují na vrcholu skluzavky .
muž tančí s psem mezi nohama .
bílý pes běží v mělké vodě .
oregoni pochodují s kapelem .
skupina dětí si spolu hrají v oploceném zahradě , zatímco dospělý se dívá .
skupina žen spolu hraje na hudební nástroje .
malá dívka ve fialových kostkovaných šatech leží na zemi a brečí .
muž s grabenými vlasy se holí vousy .
dva černí psi , černý štěně a bílý pes ve sněhu .
muž ve miami basketballovém dresu skáče na střelu .
žena sedí venku před domem s modrou dveřmi a užívá si vzduchem .
děti sedí na muže v obleku banana .
šedobílý pes skáče přes vodu na písku .
dav se shromáždil kolem vodní fontány v dešti .
několik starší muži , někteří v tradičních čelence , věší na rohu ulice .
mladý pes se dívá ve sněhu .
fotbalista v zlatém dresu blokuje míč od protihráčem .
žena v černém triku plete s fialovým garcem .
čtyři asiatky v zlatých šatech vystupují ballet .
člověk hraje na unique nástroj .
dívka v černém oblečení s číslem 1102 běží přes trávu .
dítě na lyžích má na sobě číslo 93 " .
starší pán a mladá dívka se nastavují na puzzle .
filmová studentů filmuje mladému afričník ve žlutém triku .
pouliční lampu osvětlený most s cyklistem a několika auty .
muž jede na býkovi v býku .
chlapec skáče , aby trefil tenisový míček s raketou .
děti se dívají na zeď , zatímco dva další lidé sledují .
lidé jdou po basketbalovém hřišti s palmami v pozadí .
malá dívka kope do černého předmět v karate .
dva muži , kteří se snaží se na vodě , aby vystavené pneumatik .
dva muži tančí breakdance s davem a dívají se .
profesionální žena stojí na pódiu nebo probírají něco v přístavu .
žena leží na gauči a směje se .
terénní motorka se dostává z jedné bílé a jedna černošská žena .
muž skáče na plot .
tři psi si spolu hrají na poli .
dvě malé děti jsou na písku .
usmívající se chlapec si hraje ve listí mezi kachny .
čtyři lidé stojí venku , s třemi psy .
při visitu , možná ružžžžžžžž se provozuje na provozezeze .
dívka , která má na sobě radio t-shirt , má otevřenou pusu .
skupina kmenů naplňuje vodu v poušti .
muž stojí na městské ulici .
ptáka letí s jídlem v ruce .
dva muži jedou na farmě , zatímco si provožují své přístroj .
dva lidé stojí na vrcholu hory .
mladá dívka si užívá se baví , zatímco dělá ve sněhu .
tři muži se usmívají na kameru a ukazuje na jejich náppory .
člověk píše na tabuli v prázdném třídě .
muž v černém triku sedí u stolu s otevřeným pomerančem před ním .
čtyři lidé odpočívají na travnatém kopci s výhledem na skalnaté údolí .
chlapec s skateboardem skáče do vzduchu na kolejích .
muž v oranžovém triku hraje tenis .
pes s červeným obojkem medizuje zuby na psa s modrým obojkem .
chlapec venku si užívá letního dne .
dělník v oranžové pracovním obleku klečí a kontroluje stroj .
muži v kovbojských kloboucích stojí na rodeu .
dva psi ve sněhu a jeden má něco v tlamě .
zaměstnanci si dává pauzu od práce , aby si pijí .
béžový pes běží za bílým psem a drží žlutou hračku .
hokejista v bílém dresu s klackem .
muž v bílém triku s zlatým hodinkem si hraje s racetrackem .
černý kůň strká hlavu skrz plot a snaží se chytit trávu .
rozbalenkavá , že se zdá , že se jeho rukou , ale při tomjně kouří krabice .
dva muži a dívka se smějí .
dítě se opírá o výstavu z modrého a žluté plastové plastové , zatímco dospělý se dívá .
černý pes , který se prochází na sněhu , aby chytil míč .
mladá dívka stojí vedle žlutého kočka na kuchyňském stole .
dvě děti si hrají na hřišti .
tenista v zeleném pruhovaném triku drží ruku do pusu .
chlapec v červeném obleku si hraje ve vodě .
dítě v červené bundě a čepici drží velkou kusy sněhu .
dva policisté v oranžových bundách stojí před bílým stanem s diváky .
dva lidé stojí vedle stromu na zemi .
dva muži sedí u kamenné budovy .
bruneta s brýlemi drží blonďaté dítě v červeném svetru a žlutých botách .
černo-bílý pes si hraje s bílým míčem .
dva lidé se líbají na chodníku před limo , zatímco lidé jdou kolem .
žena hraje volejbal .
dva velcí psi se perou na hliněné poli .
hnědý pes skáče přes překážku .
muž v pruhovaném triku kouří cigaretu na ulici .
malá dívka drží malého chlapce na klíně .
muž , který se snaží na velmi stoupit velmi býka na krásném odpočném odpočině .
děti se perou , aby se přetahahahahují .
cyklista se opírá o horském kole kolem zatáčku na prašné dráze .
dva lidé a vodítko na doma .
mladý chlapec učí jak jede na kole s svým otcem .
chlapec v červeném triku a černých šortkách zametá cestu .
afričanka stojí před nějakými zvěšenými domů .
muž hraje na nástroj vedle stromu .
dvě ženy drží za ruce nad stolem a usmívají se do objektivu .
hnědý pes jde po trávě .
basebalový hráč v černém triku právě taženého hráče v bílém triku .
žena drží velkou košíku pro děti .
dva psi , jeden s tenisovým míčkem v tlamě , běží vysokou trávou .
dva dospělí a dvě děti sedí na lavičce v parku .
žena na travnatém poli vyfukuje na pupionu .
muž prodává bradky ke skupině lidí .
skupina lidí na ulici se shromáždili , aby poslouchá na akordeon .
muž sedí na lavičce a zvedá svůj ipod .
starý muž v těžkém oblečení čte noviny v metru .
starší muž v brýlích připravuje maso .
muž předvádí trik na kole , který stojí na pedalu , zatímco na kole je na pedal .
muž je na pláži a dělá písečnou sochu .
několik lidí v parku jí u piknikového stolu .
dvě ženy jsou připojen na stromě v nějaké konstrukci .
kovboj v rodeu se snaží na oslový druhou .
pes skáče skrz překážky .
obpopoids žena s dlouhými černými vlasy v růžovém triku s jmenovkou na rámu .
muž opravuje malou holčičku .
dvě dívky v puberové sukních tančí před nějakými hudebníky na ulici .
žlutý pes nese klacek u vody .
dívka v svetru blokuje slunce .
rockový koncertu probíhá .
tři ženy v jasně barvách a čelenkách drží lovení karty .
hnědý pes kope do hlíny .
mladý chlapec v bílém pruhovaném triku a čelence drží tenisovou raketu .
dva psi běží pryč z fotoaparátu v lese .
dívka si hraje v kašně .
tři mladí sumo stojí a poslouchá na výletu .
dva turisté zkoumají kládu u břehu řeky .
tři hráči protihráčející protihráči .
dva chlapci přechází ulici ve městě , zatímco kope do červeného fotbalového míče .
muž drží jiného s zády .
bílý pes na horském stěně se otáčí na obličej , v pozadí je himmel .
chlapec jede na skateboardu na skateboardu na skateboardu .
dlouhovlasý muž hraje na piano .
tři sportovci drží kytkami stojí na pódiu .
dva plešatící dragské více v červených šatech .
mladý chlapec visí na setkání s oblečením .
malá dívka v růžovém se drží na baru .
muž v zeleném skáče s několika motorky na své motorce .
žena si hraje s dvěma mladými chlapci v parku .
čtyři lidé hrají fotbal na pláži .
dvě puberťáci se objímají , jedna má na sobě kolo , cyklisté v pozadí .
dva střední psi běží přes sníh .
žena stojí na zeleném poli a drží bílý pes a ukazuje na hnědého psa .
stůl plná obrázků na freshly , na venkovním trhu .
dva lidé sedí u stolu venku u zdi a dělají obličeje .
dva muži s nippou piercingy se usmívají .
dítě leží na béžovém koberci a směje se .
muž a žena sedí a jsou z nich jsou všude a jsou všude .
dvě ženy zápasí v dětské bazénu .
muž v bílém triku jde s nápojem v ruce .
dva lidé se silhouetují o jezero a reflektují pomalovaný nebem .
několik lidí sedí u stolu ve formálním oblečení .
dvě dívky ( jedna v modrém a druhá v růžovém ) závodí na kolečkových bruslích .
čtyři lidé sedí na hromadě kamenů .
skupina lidí dělá triky na motorkách .
cyklista v závodním vybavení jede lesem .
muž v zeleném triku jde po pláži a nese své baskets .
několik mužů stojí kolem starého auta .
dva muži pracují pod kapotou bílého auta .
děti skáčou ze kraje bazénu .
muž na kraji zdi se chystá spadl .
žena v pruhovaném oblečení na kole .
dívka v černém pózuje na kameru .
muž v šortkách stojí u vody .
čtyři černí muži sedí na schodech kostela .
jeřásá je uprostřed hromadě sjezdu .
gymnastka v červeno-bílém je ve středním baru .
starší dáma v zeleném svetru vybírá zeleninu .
dva muži vybírá věci v dílně s nástroji .
učitelka v bílém a malá dívka v žlutých šatech si hraje s budovou .
malé dítě spí v posteli s otevřeným knihou na hrudi .
žena jí v trávě na krásném dni .
muž jde po dlážděné ulici vedle posprejovaného budovy s červenými eavami .
žena , která má na sobě čepici s chrábem .
osamělá žena používá velkou prvkou a dog štíkrá , zatímco stojí na stáženém poli .
muž v karate předvádí před dvěma jugesci .
muž ve formálním oděvu hraje na piano na chodníku města .
starší muž sedí na židli a jí nějaké snacks .
žena v bílém triku pracuje za pultem v kavárně .
muž v pracovním oblečení stojí na zadní části náklaďáku .
dvě děti se dívají na koních skrz malou plot .
okno s někým designem .
žena v jasně růžovém kabátě dělá obličej na ženu , která má na sobě fialové bundě , stojí venku před obchodem .
kovboj strká ruku s kapelou .
muž ve žlutém triku a muž v tmavě modrém triku mluví .
tři asijské děti sedí na gauči s tyčími , které visí v pozadí .
dívka v červeném triku skáče , aby trefil tenisový míček .
muž pózuje s zeleným grem .
muž svírá lahve s dalším člověkem , zatímco se usmívá v restauraci .
muž nakládá krabici s spoustou brány .
muž v černé bundě hraje na kytaru ve veřejném prostranství .
skupina tancuje v průvodu v číně .
muž stojí na skalnatém útesu s výhledem na vodní plochy .
policista sleduje ženu z autobusu .
dva policisté středního věku se dívají přes parkoviště , v noci .
dva muži v modrých tričkách se dívají na fotbalový zápas .
skupina mužů v modrých uniformách stojí spolu .
mladá žena dělá jógu na pláži .
velká dav lidí stojí v parku a několik mužů hraje na hudební nástroje .
muž s balónkem dělá zvířaty .
muž griluje maso venku .
dva muži prodávají ovoce na stánku s ovocem .
bruneta v bílých bikinách lije nápoj do muže kelímky .
chlapec v slunečních brýlích běží za fairy .
ruka v rukavicích drží , co vypadá , že se na kládu o kládu .
muž v kostkované košili ukazuje na černé výrobky rukavice .
dva muži v bílých plastových židlích sedí vchodu .
mladá dívka v červených šatech má na sobě černou kovbojský klobouk .
muž v červenobílém fotbalovém dresu stojí na hřišti a skáče se žlutými fotbalovým míčem .
lidé skáčou přes horu na laně .
lidé se dívají , jak se účastní maratonu .
lidé na laptops před velkým oknem .
žokejá rušná v práci , zatímco zapaluje na něj .
muž v rukavicích nese kukuřici na poli .
fotograf fotí zrcadla zrcadla od kavárny .
muslimské žena drží balónky na akci .
žena sedí v potřním prostoru s kočka a dvěma králíky .
žena sedí u cihlové zdi uvnitř budovy .
tři mladé ženy se tváří , zatímco sedí na červené plyšové židlích .
žena v modrém triku jde v vesnici .
šest dětí , které sedí na schodu s notou a crayons .
béžový pes si hraje s klackem na břehu .
dva psi se perou o třetího psa , který má jazyk .
dítě na motorce se usmívá .
šest lidí se shromáždili kolem a jí velký večeři .
santa clause je photography na olympijské medie .
vojenských rodů pochodují v deštimové dni .
žena v modré helmě a červených kalhotách jede na motorce .
několik mužů v uniformách bojových umění , zatímco předvádějí nějaké pohyby .
mladá žena a muž v odšlém kostýmu se štítíjí tyč s skupinou lidí v pozadí .
muž v uniformě jde po ulici s dvěma auty a stromem .
mladá žena leze po stěně .
starší muž ve světle modré bundě pracuje na autě na kraji silnice .
lidé se dívají přes několik barevných kusů papíru na stole .
muž zpívá a hraje na kytaru do mikrofonu .
dva muži sedí v restauraci .
dvě ženy v šortkách běží po pláži podél vody .
stavební dělníci diskutují u železniční trati .
pohled na pěti pěti chodců , na kterém je muž v černé zástěře a bílé čepici , stojí uprostřed davu .
skupina lidí si hraje na předmět .
malá dívka v modrém oblečení leze na kovové zábradlí na ulici .
skupina mužů sedí a mluví za nějakým zeleným ovocem .
muž ve žlutém oblečení stojí za mikrofonem pod stanem .
hnědý pes s fialovým frisbee v tlamě .
vypadá jako muž cvičí své bojové umění poblíž bahnité vody .
žena s nápojem a ženou s mobilem .
dítě v červeném kabátě mává ve vzduchu , zatímco leží ve sněhu vedle červených plastových sáňů .
žena sedí vedle svého kabelku a sleduje psy v parku .
tři muži stojí na pódiu , jeden má na sobě klauna a drží kytaru .
žena se připravuje fluo v kmenovém vesnici .
žena v červených šatech tancuje s mužem v obleku .
dva malí psi následují většího psa s tenisovým míčkem .
muž s vousy a kšiltovkou sedí na lavičce v parku .
afričan stojí na své zahradě s lesem v pozadí .
mladá dívka se snaží kartáčit kozu .
asijští lidé sedí v restauraci s žlutými židlemi .
malá dívka jí cookie , zatímco sedí v dětské dětské židle a má balet .
šedovlasý muž v černých rukavicích se pohybuje trávu .
žena čte knihu , zatímco sedí v řadě červených židlích .
dítě si hraje , zatímco jede na ramenou ženy .
rodina jde po chodníku ve sněhu , zatímco muž sedí na straně s papírem .
kočka sedí na vrcholu obchodu .
muž v růžovém triku a černé bundě s sluchátky .
mladý muž se chystá hodit fotbalový míč .
muž a dívka jdou dolů po vystraném chodníku .
žena s růžovými vlasy se ohýbá na chodníku a drží růžový psy .
muž v obleku drží nápoj v tasse a jde po chodníku vedle autobusu .
muž skáče s kamenným formationem v pozadí .
člověk v červené bundě s černými kalhotami , který drží bóny .
žena si dává ruku na člověka , který sedí v vozíčku .
muž v bílé zástěře vaří něco s eci venku pro ženy v béžové bundě .
žena s vozíkem na mobilu a sluchátky čeká na přechodu .
skupina mužů jde po ulici ve městě .
silnička vedle intervného místě s mnoha sloupů .
skupina lidí v černém stojí na molu poblíž dlouhého konstrukce .
muž , který nese několik krabů piva .
muž středního věku sedí a hraje na akordeon .
dívka s zeleným rukou , vlasy , vlasy a uších stojí venku .
mladá dívka v růžovém triku běží na pláži směrem k oceánu .
skateboardista v černém triku a džínách bruslí ve městě .
muž v bundě fotí velkou budovu .
lidé na kraji fotbalového zápasu .
na této obrázku je rodina čtyři , která si prohlíží přes rušnou ulici ve městě .
skupina lidí jde po ulici ve slunci .
ulice poblíž pouličního světla s několika lidmi , včetně muže v hnědém kabátě a slunečních brýlích , který má ruku k obličeji .
nějací rostliní k okně u okna .
tento hráč v modré helmě , který je dokončil a právě dokončil míč během baseballového zápasu .
žena v zlatém kabátě se válí , aby chytil metro .
nějací lidé sedí na lavičkách pod řady stromů před budovou .
muž v obleku sedí na autobusové zastávce .
afroamerický muž obklopený prázdnými kyblíky a tmavých kotlých kotáchách mluví dohromady na kartonu .
mladá bruneta jí a pije něco .
muž v obleku a klobouku hraje na kytaru na ulici .
žena v červené vestě pracuje na počítači .
lidé stojí okolo obozeně a vyhazuje kouř do obličeje .
muž , který používá koupelovou zrcadla , aby si kravatu .
hudbu je u několika jedinců , zatímco šťastná dav sedí a poslouchá .
dva mladí muži jedou na velmi malé koně plné brazů .
žena v šatech jde po ulici kolem staveniště .
clerka v obchodním obchodě , zatímco zákazníků kupuje alcoholy a identification .
muž s slunečními brýlemi pracuje na stavbě a vyhazuje štěr na zemi .
dítě si hraje s hračkami a dívá se na černou a bílou kočka .
dospívající dívka nese kytaru v lese .
muž s batohem jde po ulici .
dva muži si povídají před souveným obchodem v rok .
žena v černém drží něco v tlamě .
skupina lidí sedí venku okolo malého , krátkého stolu .
muž jede na kole po rampě .
žena v černém tílku a křídou hledí do dálky poblíž západu slunce .
tři mladé dívky jdou spolu po chodníku .
žena s dlouhými vlasy je v diplém cérémonie .
muž skateboarduje na silnici , zatímco jiný muž sleduje z chodníku .
muž v černé kožené bundě stojí před nápisem .
muž a žena zpívají společně píseň .
mladá dívka s kudrnatými vlasy a v bílém triku leží na trávě a drží květinu .
mladé fotbalové tým v zelených uniformách předvádí protahuje cvičeb .
žena vystupuje na dramatickém scénu ve veřejném za žlutou pásu .
muž se krčí , zatímco si dělá choreo , zatímco pigeons chodí v pozadí .
skupina mužů stojí na poli černých míčů .
rušný den na místním městě .
muž s cigaretou v puse opravuje talíř s jídlem .
dvě skupiny plavců se brodí .
lidé sedí na lavičce v městském náměstí , na kterém je na kterém je lampy , včetně lampy a šaty , stojí poblíž .
pracovníci obklopují díru s kyblíkem .
muž bez trička v černých šortkách stojí na skalnatém břehu na velké vodní plochy .
strážník je nahlíží , zatímco na duto .
lidé hrají pool , jeden muž v modrém triku a ostatní ženy , co jsou na hlava , že je fotografovi .
lidé stojí před sochou obklopenou vodou .
žena se dívá , zatímco muž s roztaženýma rukama mluví .
muž středního věku v bílých šortkách a žabkách se dívá na silnici .
dva muži v tmavých oranžové kombinéze a sandálech stojí blízko velké reflexové sochy .
dva lidé se baví na své lodi .
muž a žena stojí na ulici ve městě .
hasiči se vynořuje z metra .
čtyři muži , tři z nich má na sobě záchranné čepice , sedí na modrozeleném podložce .
toto je velká skupina lidí sedí venku na lavičkách .
muž v červeném triku jde kolem tyrkys a bílé kostkovaného jídla s nápisem " 32 . "
lékař předvádí nějaký druhou operaci .
starší muž s cigaretou v puse a kšiltovce si prohlíží si foťák .
malý orchestr si hraje s otevřeným housle před sebou .
muž v červeném obleku tancuje s paní .
dva lidé se dívají v noci na světlu ve městě .
dva motokrosové cyklisté v ochranném vybavení , jeden ve vzduchu po skoku a druhý se dívá dolů po své motorce .
několik mužů v oranžovém se shromáždili na venkovní akci .
dvě mladé dívky běží na chodníku před cihlovou budovou s plakáty .
dva jedinec leze po strunné hoře .
dítě leží na zemi vedle kočárek .
pes odpočívá na muže a žena .
spousta lidí na trhu se dívá na různé různé věci .
dva mladí muži hrají na elektrickou kytary na pódiu .
potetovaný muž lije pivo z lahve do tlamy .
dva lidé stojí venku vedle hraní hračky a skládají .
čtyři lidé jedou na kole po cestě poblíž rušné ulice .
žena v růžovém triku a s brýlemi .
žena v červeném triku zvedá ruku , aby se prochází davem pod ním .
chlapec v bílých šortkách skáče do jezera nebo řeky .
malá dívka se dívá skrz teleskop na pláži .
několik stavebních dělníků v oranžových bezpečnostních vestách kope do země .
člověk s kapucí stojí před budovou a běží .
stavební dělníci , kteří zvedají proti výstavu stavby .
muž jede na koni s jinými muži , který něco dělá stejný za ním .
afroameričan jde po ulici .
dva nuni pózují pro fotku .
žena s neonovými sluchátky píše v notice .
žena v zeleném triku mluví do telefonu .
malé africké dítě nese mladší dítě na zádech .
skupina lidí sedí na židlích .
člověk s šátkem stojí na ulici před svými věci .
orientální člověk v červeném triku a černých kalhotách se krčí přes kabelku na beton .
černý pes a hnědý pes s míčem .
muž v černé vestě drží modelový letadlo .
muž na poli s letadlem .
muž v obleku a kravatě a žena s kufry , kteří čekají na london .
dítě jde po chodníku s několika americkými vlajkami .
černý pes běží po zelené trávě s hračkou v tlamě .
orientální cestující čeká na jeho zatáčku na curřené exéryry .
pes se otáčí na trávě , aby chytil míč .
skupina studentů sedí a poslouchá na red red pultu .
lidé jedou na skútru po ulici v noci .
velký šedý moře a muž na kole .
muž v oranžovém triku a blonďatý chlapec jedou s ostatními lidmi na mikině . "
mladý muž a žena poblíž velké kovové sochy .
loď v červeno-modrém s modrými rukami na molu .
muž v černé čepici fotí na rušné ulici .
muž stojí na rušné ulici a dívá se na hlavu .
žena v černém má malou holčičku ve žlutých šatech na ramenou .
skupina lidí na ulici připravuje na nástroje .
spadlý motýýý motorkář používá jiného .
tři lidé jdou po horské stezce , zatímco jedna žena se dívá do objektivu .
několik asiatů v černém oblečení v nějakém kryží .
žena v červené sukni jde po ulici s graffiti v pozadí .
gymnastka v modro-růžovém oblečení předvádí sestahový vystoupení .
lidé chladící z fontány , žena v bílých šatech sedí na kraji a dívá se .
muž sedí na lavičce pod velkým stromem .
tři muži v červenobílých košilích , bílých kalhotách a černých kloboucích drží vlajky .
lidé obdivují umění .
rušná obchodní obchod s papírovými lampami a zákazníky .
tyto lidé lezou po schodech na horu .
malé dítě v modrém oblečení se dívá z nějakých stromů v dálce .
lidé se dívají na děti v obchodě .
muž s kloboukem hraje na bubny na ulici .
chlapec stojí s třemi dívky .
usmívající se muž , který má batoh na sobě batoh , drží své z nich stojí před chlapcem v brýlích .
čtyři muži jsou venku a dívají se dolů přes zelenou most .
žena odpočívá na ručníku před lidmi , kteří si užívá modrý vodu .
dospělý ovlání ovčník běží za odstraným ovčníkem .
výletníci a bististy , kteří jsou zachyceny a vyfocený jídlo , který je zachyceni ve městě .
afroamerický muž protestuje proti mísy .
policista je na kole a čeká na světlo .
skupina mužů sedí okolo stolu .
středněná skupina lidí , včetně starší muži , mají pití v parku .
žena mluví s kamarádem , zatímco venčící pes venku za slunečného dne .
mladý muž v šedém a černém triku a bílé čelenku .
dva lidé jedou na motorce s mnoha dalšími jezdců .
dvě ženy v vojenských uniformách stojí s dalšími vojáky v formationu .
tři dívky se usmívají na fotku .
žena v černém , která má na sobě sobě černé brýle a žluté bundě , vypadá zmateně , zatímco sedí na lavičce .
mladý muž s červenými vlasy pije z fontány , jako žena .
dva muži a žena jdou po ulici ve městě .
muž středního věku s červenými vlasy a brýlemi drží dítě .
mladý chlapec v červené čepici jede na koni .
dva chlapci si hrají na chodníku .
malá dívka v černých plavkách drží lopatu na pláži .
starý muž v klobouku a bundě spí na gauči .
dva chlapci se dívají nahoru na obloze a mává rukama a jsou oblečeni v oblečení , aby mohlí .
mladý pár sedí na chodníku a relaxuje spolu .
mladík v triku a kravatě se krčí a dává míru .
tři lidé sedí u stolu před barvy .
chlapec v černém triku a červené námořky visí vzhůru nohama , zatímco ostatní lidé přihlížejí .
muž jde před barevnou nástěnnou malbou .
mladý muž jde s dalším mladým mužem , který se dívá dozadu na tři dívky .
muž sorting palmami v nádherné kavárně .
pět lidí jde po schodech kolem ženy v růžové košili a hnědé sukni .
skupina lidí na venkovním trhu .
dva chlapci jedí své mcdonalds oběd v venkovním prostoru obklopeni mnoha dalšími lidmi .
žena v džínové bundě jde po chodníku .
muž řídí čtyřkolský vozidla s čtyřmi cestou na straně a muž sedí na zádech .
muž v modrozeleném triku čte noviny .
chlapec v kočárku má na sobě zelený triko a drží knihu .
dvě děti sedí vedle sebe , zatímco jedí friandise .
lidé jedou na kolech na ulici a jsou všechny v helmách .
dav lidí jedou na kolech .
muž sedící na nástupišti s kolením je tažený burrow .
muž na kole jede skrz archway .
muž v barevném oblečení , který je vidět světly , sedí a kouří cigaretu .
dva muži v oblecích pod deštníkem a před graffiti .
hubený muž v špinavém bílém triku jede na kole na ulici .
muž na koni se snaží za provaz na mladé býka .
kovboj se snaží chytit tele , zatímco jede na koni .
dva cyklisté v helmách jedou kolem prázdné zemi .
muž se naklání přes a táhne něco z pytel .
muž v motokrosovém vozíku jede kolem , aby se mohlilní místo .
člověk s tetováním se dívá na fotku na digitální kameru , nebo telefon .
muž v černém triku a džínách stojí na chodníku a dívá se do kamery .
chlapec a dívka stojí společně na chodníku , zatímco se dívají na předmět .
několik lidí v modrých oblecích a jeden v sukni a černé blůze .
žena a pes sedí na bílé lavičce poblíž pláže .
dvě ženy jdou po hlíně před velkou budovou .
skupina mužů a dítě v bílých tričkách stojí na silnici .
žena v černém a nese černou tašku na chodníku .
skupina mužů sedí okolo stolu a baví se .
nástěnné malbu na straně budovy .
asiat v rukavicích pracuje u stánku s jídlem .
žena sedí u stolu a pracuje na svém počítači .
člověk se dívá na počítač na stůl s telefonem a krabicí .
muž sedí na židli a sleduje lidi se prochází kolem .
dva lidé v kloboucích stojí na poli a prohlížejí se crop .
někteří skáče přes vysokou tyč v baru .
muž v botách a kovbojském klobouku sedí na koni , který skáče , zatímco diváci sedí v stojí .
dvě mladé dívky sedí na ulici a jedí kuku .
tři děti v fotbalových uniformách hrají fotbal na fotbalovém hřišti , zatímco další hráč a dospělý stojí v pozadí .
malé dítě s špinavým obličejem se drží starou ženu .
muž s brýlemi se dívá do kamery , zatímco jiný muž v modrém triku se na něco dívá .
dva lidé sedí pod stromem a sbírají zelenou zeleninu .
mladý chlapec v modré čepici se dívá skrz teleskop , zatímco jiný chlapec sleduje .
tři muži vaří v malém kuchyni .
mladá dívka v šedé kombinéze lyžuje na zasněžené hoře .
skupina vesnických žen shromážděných v tančí .
muž a žena třídí prádlo s latexovými rukavicemi .
mladá dívka sedí na dřevěné židli .
dva pracovníci sváří tyč u plotu poblíž rušné městské ulice .
dlouhovlasý mladý muž jede na skateboardu na zábradlí za oblačného dne .
na venkovním trhu dva muži lopatou lopatou sněhu a pokloněnou z cesty .
muž v bílém triku hraje na bílou kytaru .
mladá dívka ukazuje své přátel , jak použití kameru .
malý chlapec skáče z mola do jezera .
dáma v zelené masce na za dentistu a vypadá velmi unhappy .
muž v oranžové bundě a modré čepici leze po zasněžené hoře .
malá dívka s blonďatými vlasy si hraje a cáká v blátě .
dítě jede na kole po uličce s graffiti .
gymnastka je zachyceni na akci .
lidé jdou po ulici s pouličním stánkem .
muž v tradičních šatech stojí vedle svého muže , který vypadá jako oblečení , že vypadá jako lát .
dvě děti si hrají na kole .
dva muži na protihráči hrají fotbal na hřišti .
muž skáče a pózuje pro fotografa leží na zemi .
dívka pije z fontány .
nandavá vodu během svého kraje .
muž v laboratorním kabátě se dívá skrz mikroskop .
blonďatá dívka spí na hnědém gauči .
muž zametá chodník před cihlovou budovou během dne .
tři muži vaří v kuchyni .
muž na lešení před domem se usmívá a pózuje na fotografovi .
dvě dívky v šortkách drží za ruce v bazénu .
čtyři asijské děti sedí na lavičce a vlnu a usmívají se do objektivu .
děti jedou na kole v něčem , co vypadá , že je zdobené špice .
mladý chlapec , který má na sobě šéfkuchařské čepici a zástěře , krájí saus v kuchyni .
toto je klaun na šesti školní školy .
usmívající se lyžařské čepici drží kolo svého dřevěného lodi .
žlutý buldozer , který pracuje , aby se pohybit hlínu .
žena v červeném triku jede na bílém koni , která je galopopopopo stromy .
žena sedí na velmi velké kameni a usmívá se do objektivu s stromy v pozadí .
tři muži v pestrobarevných kostýmech si dávají ulicí s parky a krabičkami .
dívka si hraje v malém bazénu .
dvě děti , chlapec ve žlutém triku a dívka v modrobílých pruhy se houpe .
muž hází rybářskou síť do bay .
muž v šedém triku , modrých džínách a neonově zelené vestě stojí na železniční trati s bílým autem v pozadí .
dva stavební dělníci leží na kovových kladině .
kapela je na pódiu s členy v modrém oblečení .
horolezec s trikem zpívá do mikrofonu , zatímco hraje na bubny .
vidíme muže , který si dává své věci z nákupního vozíku , připravené .
muž s holí je na schodu .
žena v bílém triku pracuje na ellém stroji .
dívka s maskou jede na ramenou muže po přeplněném chodníku .
dvě dívky , jedna starší a druhý v černém a druhý mladší v bílém , vystupují stejně před ozdodobami .
několik žen předvádí tanec před budovou .
plešatý muž jde po chodníku ve městě , zatímco telefonuje .
žena si hraje s prvkami , zatímco malé dítě v kostýmu jde kolem .
skupina lidí sleduje mladí muži hrají na bubny , jak používá rozhhhasy , zatímco hrají na hudební nástroje .
dívka s normalem a improvými bezpečnostním vybavením bruslí .
malý bílý auto je na vlakové trati a možná ne možná zrovna , že je za ní .
dva rockisté zpívají a hrají na tmavém pódiu .
dívka v baseballové čepici , bílém triku a modrých šortkách stojí v kamenném lese .
dva muži hrají na kytaru před velkým publikem .
číslo lidí tančí s nápisem , ostatní před obrovským domem .
žena a pes prodávají své zboží na staré budově venku .
žena a dva muži , kteří jsou oblečeni v profesionální , diskutují .
skupina mužů v červených a černých bundách čeká na motorkách .
muž oblečený v bílém dresu s číslem 3 .
muž prodává snacks na sportovní události .
dva muži z zeleného týmu protihráčejí druhého z černého týmu pro míč v rugbyu .
děti soupeří , aby mohlí fotbalový míč .
člověk v modrém je zachyceni , který hází svůj míč na bowlingové dráze .
několik fotbalistů na hřišti .
mladý muž sedí na skateboardu a drží mobil a pózuje na eskalátoru .
žena v modrém běží maraton .
tato kapela se připravuje na vystoupení před publikem v kostele .
hráč s číslem 8 i ' s nápisem " st. " i 's " football américain se snaží se k tackle .
dva hnědící hráči jsou na ledu a zametají na cestě před polínou skalnatým davem se dívají .
muži hrají fotbal na bahnité hřišti .
basketbalista v bílém dřepí , zatímco hráč v červeném se pohybuje k němu .
lidé jdou přes obloukem v starém městě .
dvě závodní auta , jeden červený a druhý v modrém , jedou po boku po dráze , zatímco je pozoruje několik diváků .
fotbalista v bílém dresu drží fotbalový míč .
velmi mladý chlapec se dívá na malý předmět , zatímco se koulí .
žena a dítě jdou po ulici .
hokejový zápas je hře s mnoha lidmi , kteří se dívá .
tři ženy skáčou na míčkách v trávě .
afroameričan v modrých šortkách , černé a červené košili a bílých teniskách hraje tenis .
muž a žena v bílých tričkách se objímají .
muž mluví s rodinou , která drží nějaký zařízení , zatímco se dívají a usmívají se .
velmi mladý chlapec v zeleném triku leží na obličeji na bílé posteli .
extrémrémní cyklista se zastavuje , aby se podíval na slunci v pozadí .
žena v teplém oblečení skáčí na zasněžené oblasti .
čtyři dívky a žena se učí , jak dělají nějaké crafts .
muž v černobílém pruhovaném dresu se snaží zastavit koně .
muž vynává obrázek , která je žena v modré košili , pro procházil .
žena s červenými vlasy je na krku hlubokou modrou vodou .
dva mladí chlapci pózují s chiotem pro rodina .
čtyři děti trénují karate , zatímco dva dospělí se dívají .
muž odpočívá na červeném gauči v nábytku .
skupina lidí mluví u stolů .
dva žokejové závodí , jeden v modročerveném a druhý v oranžovém a hnědé , závodí proti pozadí .
červené auto je před dvěma auty v pozadí .
velký býka , který se odráží , v rodeu se svým hornami , zatímco rodeou běží s klaunem .
muž bez trika jde k žlutém kajaku .
chlapec na odpališti míří a střílí .
dva týmy chlapců hrají fotbal v písku .
dítě v modrém a dítě v bílém stojí na krátkém betonové zdi u potoka .
žena maluje květovaný design na hliněné hrnce .
lidé jdou po rušné ulici v cizí zemi .
pravílový nadhazovač , který je zachycena , aby hází míč .
dva muži , jeden v černé a bílé a druhý v červeném , hrají beach volejbal .
muž stojí v lodi a drží nějaké síť .
surfař , který je na surfu v oceánu , zatímco se snaží se na vlně .
technici se připravuje sample v laboratoři .
fotbalisté skáčou do vzduchu , aby trefil míč s jejich hlavami .
dva chlapci hrají fotbal proti sobě .
postarší člověk přechází ulici s deštníkem v ruce .
skupina běžců běží směrem k dvěma identical skysysysys .
skateboardista jede na betonové zdi blízko tom tom tom tom tomu , zatímco se snaží trik .
lidé hrají hru v bazénu .
muž , který se líbají , aby se chlapi také .
muž s nápisem cargraphy na mladému chlapci .
mladý muž v modrém triku grinduje zábradlí na skateboardu ve městě .
asiat sedí na železniční trati s krabicemi pekařů .
telefonní muž v plné vojenských uniformách mává klobouk a v pozadí sedí lidé a dívá se na vodu .
dvě auta jedou na závodní dráze .
muž v černo-bílém dresu drží žluté skočil a připravuje se na výlet .
dva lidé leží a líbají na travnatém trávníku .
velmi malé dítě v džínové kšiltovce jí zelenou pomeranče .
fotbalisté běží k míči .
muž v černé bundě a kostkovaném klobouku hraje na elektrickou kytaru na pódiu s jiným kytarami v pozadí .
muž skáče přes překážku od býka .
žena v modrém triku a bílých šortkách hraje tenis .
muž hraje v koncertu .
muž nese velkou kus kovu na ramenou skrz metu .
žena s kamerou hází frisbee pro svého hnědého psa , aby chytil .
je vidět z muže a žena , jak se dívá na požár nebo další velký dřevěný předmět .
dvě dívky vyfukuje ruce v kašně , zatímco lidé jdou kolem .
mokrý , usmívající se dítě bez trika pózuje s rukama .
dva muži , jeden v bílém a druhý v modrém , zápasí .
žena v červených bikinách skáče do míče , zatímco hraje volejbal na pláži .
oranžová krátkovlasá bruneta kouše na nosu .
žena , která má na sobě žlutou zástěru , vyhlíží z velkého hrnku .
dvě děti přechází malou brooku pomocí kamenného mostu .
dvě afroamerické ženy jedou na mopedu po ulici ve městě , která vypadá jako jako dobře .
dva chlapci před limonovou strojem .
cyklista v černém jede po prašné cestě na horském kole .
žena s tetováním fotí obraz s mobilem .
žena v celém černém oblečení a bílé helmě jede na kole s rozmaženýma stromy v pozadí .
tým cyklistů zapaluje zatáčku , zatímco jsou poblíž diváci a fotí .
čtyři fotbalisté v černém protihráčející protihráči , jak je vidět v bílém , zatímco se v dešti .
běžkyně na dvoře , zatímco je za dvěma tackleri .
basketbalový hráč v bílém dresu s číslem 55 , který se snaží skočit hráče v černém dresu s číslem 10 .
muž mluví venku na telefonu .
profesionální baseballista během hry se dívají na soupeře na pálku .
terénní cyklista skáče v lese během podzimu .
3 basketbalisté v červeném dresu se snaží na míč a jeden v červeném dresu se snaží se v bílém dresu .
chlapec chytá nohu , zatímco skáče do vzduchu .
dvě děti v pruhovaných svetrech a černých kalhotách jsou venku u hraní .
muž ve slunečních brýlích jede na koloběžce .
malý chlapec v baseballovém regalia drží pálkou za hlavou s baseballovým míčem před ním .
šest mužů sedí na poli s dřevěnými krabicemi .
hnědý pes vybírá twig z kamenného povrchu .
tento muž oblečený ve žlutém drží na hnědém koni .
muž v bílém triku a zástěře krájí ptáka .
běloška používá venku wok , aby vaří .
běžci závodí na ulici ve městě , další lidé stojí okolo .
asiatka v klobouku jede na kole .
nějaké děti venku si hrají v hlíně , kde jsou dva stromy .
starší muž hraje video arcade .
dívka na břehu pláže s horu v dálce .
